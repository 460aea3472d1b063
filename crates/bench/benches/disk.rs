//! The cost of a commit on a disk, by the state of its blocks and by the way it is written: `cargo bench -p forelog-bench --bench disk -- DIR`.
//! One write after the other, each durable before the next; the cases take turns.

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    linux::run()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("This looks at what Linux makes of O_DIRECT and fallocate; there is nothing to compare elsewhere.");
}

#[cfg(target_os = "linux")]
mod linux {
    use memmap2::{Advice, MmapMut};
    use std::fs::{File, OpenOptions};
    use std::io::{Result, Write};
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    use std::path::Path;
    use std::time::Instant;

    const ROUNDS: usize = 6;
    const WRITES: usize = 100;
    const HUGE: usize = 2 << 20;
    const SIZES: [usize; 3] = [4 << 10, 60 << 10, 512 << 10];

    #[derive(Clone, Copy, PartialEq)]
    enum Blocks {
        None,
        Allocated,
        Written,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Way {
        Cached,
        Direct,
        Together,
    }

    struct Case {
        size: usize,
        blocks: Blocks,
        way: Way,
        micros: Vec<f64>,
    }

    pub fn run() -> Result<()> {
        let Some(dir) = std::env::args().skip(1).find(|arg| !arg.starts_with("--")) else {
            println!("disk: name a directory on the disk to measure; takes a minute");
            return Ok(());
        };
        let dir = tempfile::tempdir_in(dir)?;
        let mut cases = Vec::new();
        for size in SIZES {
            for blocks in [Blocks::None, Blocks::Allocated, Blocks::Written] {
                for way in [Way::Cached, Way::Direct, Way::Together] {
                    cases.push(Case { size, blocks, way, micros: Vec::new() });
                }
            }
        }
        let mut memory = [Memory::new(false)?, Memory::new(true)?];
        for round in 0..ROUNDS {
            eprint!("\rround {} of {ROUNDS}", round + 1);
            for case in &mut cases {
                measure(case, dir.path(), &mut memory)?;
            }
        }
        eprintln!("\r");
        print(&cases)
    }

    /// Memory of single pages, or of one large one: on a page either way.
    struct Memory {
        map: MmapMut,
        start: usize,
    }

    impl Memory {
        fn new(huge: bool) -> Result<Memory> {
            let map = MmapMut::map_anon(2 * HUGE)?;
            map.advise(if huge { Advice::HugePage } else { Advice::NoHugePage })?;
            let start = (map.as_ptr() as usize).wrapping_neg() % HUGE;
            Ok(Memory { map, start })
        }

        fn bytes(&mut self, size: usize) -> &mut [u8] {
            &mut self.map[self.start..self.start + size]
        }
    }

    fn measure(case: &mut Case, dir: &Path, [scattered, whole]: &mut [Memory; 2]) -> Result<()> {
        let path = dir.join("file");
        let file = prepare(&path, case.blocks, case.size * WRITES)?;
        let direct = (case.way != Way::Cached)
            .then(|| OpenOptions::new().write(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC).open(&path))
            .transpose()?;
        let bytes = if case.way == Way::Together { whole } else { scattered }.bytes(case.size);
        for write in 0..WRITES {
            bytes.fill(write as u8 + 1);
            let offset = (write * case.size) as u64;
            let began = Instant::now();
            match &direct {
                Some(direct) => direct.write_all_at(bytes, offset)?,
                None => {
                    file.write_all_at(bytes, offset)?;
                    file.sync_data()?;
                }
            }
            case.micros.push(began.elapsed().as_secs_f64() * 1e6);
        }
        std::fs::remove_file(&path)
    }

    fn prepare(path: &Path, blocks: Blocks, len: usize) -> Result<File> {
        let mut file = File::create(path)?;
        match blocks {
            Blocks::None => {}
            Blocks::Allocated => rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len as u64)?,
            Blocks::Written => file.write_all(&vec![0; len])?,
        }
        file.sync_all()?;
        Ok(file)
    }

    fn print(cases: &[Case]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "| bytes | blocks | write and fdatasync: p50, p99 | direct | direct, from one piece of memory |")?;
        writeln!(out, "| ---: | --- | ---: | ---: | ---: |")?;
        for of_blocks in cases.chunks(3) {
            let blocks = match of_blocks[0].blocks {
                Blocks::None => "none, the file grows",
                Blocks::Allocated => "allocated, never written",
                Blocks::Written => "written before",
            };
            write!(out, "| {} KiB | {blocks} |", of_blocks[0].size >> 10)?;
            for case in of_blocks {
                let mut sorted = case.micros.clone();
                sorted.sort_by(f64::total_cmp);
                let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
                write!(out, " {:.0}, {:.0} µs |", at(0.5), at(0.99))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}
