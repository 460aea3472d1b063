//! Appends that wait, by one thread and by eight, beside the bare direct write: `cargo bench -p forelog-bench --bench writers -- DIR`.
//! Each round measures all rows, one after the other. A row is the median of the rounds, with the lowest and the highest, and the median of
//! its ratios to the bare write of the same round.

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    linux::run()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("This looks at what Linux makes of O_DIRECT; there is nothing to compare elsewhere.");
}

#[cfg(target_os = "linux")]
mod linux {
    use forelog::{Log, LogOptions, RecordRef};
    use memmap2::MmapMut;
    use std::error::Error;
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    use std::path::Path;
    use std::thread;
    use std::time::{Duration, Instant};

    type Outcome<T> = Result<T, Box<dyn Error>>;

    const ROUNDS: usize = 25;
    const APPENDS: usize = 400;
    const WRITERS: usize = 8;
    const VALUE: [u8; 100] = [b'v'; 100];
    const BLOCK: usize = 4096;
    const SEGMENT: u64 = 16 << 20;

    /// Rates of one row, a round each.
    struct Row {
        name: &'static str,
        rates: Vec<f64>,
    }

    pub fn run() -> Outcome<()> {
        let Some(dir) = std::env::args().skip(1).find(|arg| !arg.starts_with("--")) else {
            println!("writers: name a directory on the disk to measure; takes a minute");
            return Ok(());
        };
        let dir = tempfile::tempdir_in(dir)?;
        let bare = written_before(&dir.path().join("bare"))?;
        let (new, recycled) = (new_log(&dir.path().join("new"))?, recycled_log(&dir.path().join("recycled"))?);
        let mut memory = MmapMut::map_anon(BLOCK)?;
        let names = [
            "the bare direct write",
            "one writer, a new log",
            "one writer, a recycled log",
            "one writer who submits and then waits",
            "8 writers, a recycled log",
        ];
        let mut rows = names.map(|name| Row { name, rates: Vec::new() });
        for round in 0..ROUNDS {
            eprint!("\rround {} of {ROUNDS}", round + 1);
            let mut each: [&mut dyn FnMut() -> Outcome<usize>; 5] = [
                &mut || bare_writes(&bare, &mut memory, round),
                &mut || append(&new, APPENDS),
                &mut || append(&recycled, APPENDS),
                &mut || submit(&recycled, APPENDS),
                &mut || by_many(&recycled),
            ];
            for (row, act) in rows.iter_mut().zip(&mut each) {
                let began = Instant::now();
                let done = act()?;
                row.rates.push(done as f64 / began.elapsed().as_secs_f64());
            }
        }
        eprintln!("\r");
        new.close()?;
        recycled.close()?;
        print(&rows)
    }

    fn written_before(path: &Path) -> Outcome<File> {
        let mut file = File::create(path)?;
        file.write_all(&vec![0; BLOCK * APPENDS])?;
        file.sync_all()?;
        Ok(OpenOptions::new().write(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC).open(path)?)
    }

    fn bare_writes(file: &File, memory: &mut MmapMut, round: usize) -> Outcome<usize> {
        for write in 0..APPENDS {
            memory.fill((round + write) as u8);
            file.write_all_at(memory, (write * BLOCK) as u64)?;
        }
        Ok(APPENDS)
    }

    /// A log whose blocks are filled ahead of its frames.
    fn new_log(dir: &Path) -> Outcome<Log> {
        let log = LogOptions::new().segment_bytes(SEGMENT).open(dir)?;
        append(&log, 500)?;
        thread::sleep(Duration::from_secs(1));
        Ok(log)
    }

    /// A log whose active segment was another one before.
    fn recycled_log(dir: &Path) -> Outcome<Log> {
        let log = LogOptions::new().segment_bytes(SEGMENT).open(dir)?;
        let records = vec![RecordRef::new(&[b'v'; 1000]); 1000];
        for _ in 0..5 * (SEGMENT as usize) / 1_000_000 {
            let written = log.append_all(records.iter().copied())?;
            log.truncate_before(*written.start())?;
            thread::sleep(Duration::from_millis(5));
        }
        append(&log, 500)?;
        thread::sleep(Duration::from_secs(1));
        Ok(log)
    }

    fn append(log: &Log, records: usize) -> Outcome<usize> {
        for _ in 0..records {
            log.append(&VALUE)?;
        }
        Ok(records)
    }

    fn submit(log: &Log, records: usize) -> Outcome<usize> {
        for _ in 0..records {
            log.submit(&VALUE)?.wait()?;
        }
        Ok(records)
    }

    fn by_many(log: &Log) -> Outcome<usize> {
        thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(|| append(log, APPENDS).is_ok())).collect();
            let fine = writers.into_iter().all(|writer| writer.join().unwrap_or(false));
            if fine {
                Ok(WRITERS * APPENDS)
            } else {
                Err("an append failed".into())
            }
        })
    }

    fn print(rows: &[Row]) -> Outcome<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "| row | records/s | lowest | highest | of the bare write |")?;
        writeln!(out, "| --- | ---: | ---: | ---: | ---: |")?;
        for row in rows {
            let (sorted, ratios) = (sorted(&row.rates), ratios(row, &rows[0]));
            let (low, high) = (sorted[0], sorted[sorted.len() - 1]);
            writeln!(out, "| {} | {:.0} | {low:.0} | {high:.0} | {:.2} |", row.name, median(&sorted), median(&ratios))?;
        }
        Ok(())
    }

    /// The ratios of the rounds.
    fn ratios(row: &Row, to: &Row) -> Vec<f64> {
        sorted(&row.rates.iter().zip(&to.rates).map(|(rate, bare)| rate / bare).collect::<Vec<_>>())
    }

    fn sorted(values: &[f64]) -> Vec<f64> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn median(sorted: &[f64]) -> f64 {
        sorted[sorted.len() / 2]
    }
}
