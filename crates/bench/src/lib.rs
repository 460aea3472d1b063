//! Empty, because a package needs a library or a program. The benches are in `benches/`.
