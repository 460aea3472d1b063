//! Nothing: a package has to have a library or a program. What there is to run is in `benches/`.
