//! How fast recovery scans the newest segment of the log in a directory, page cache warm, beside what it cannot do
//! without: reading the bytes, and reading them and taking their CRC-32C. Prints GiB per second as JSON; nothing changes.
//! Run by `npm run bench -- --opening`.

use forelog::{Mode, Options, Waiter, Wal};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 9;
const GIB: f64 = (1u64 << 30) as f64;

fn newest(dir: &Path) -> Outcome<PathBuf> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().into_string().map_err(|_| "a name that is no text")?);
    }
    names.retain(|name| name.ends_with(".wal"));
    names.sort_by(|a, b| a.rsplit('-').next().cmp(&b.rsplit('-').next()));
    Ok(dir.join(names.pop().ok_or("no segment")?))
}

fn raw(path: &Path, crc: bool) -> Outcome<f64> {
    let began = Instant::now();
    let (mut file, mut piece, mut bytes, mut sum) = (File::open(path)?, vec![0; 256 << 10], 0, 0);
    loop {
        let n = file.read(&mut piece)?;
        if n == 0 {
            break;
        }
        bytes += n;
        sum = if crc { crc32c::crc32c_append(sum, &piece[..n]) } else { sum ^ u32::from(piece[n - 1]) };
    }
    std::hint::black_box(sum);
    Ok(bytes as f64 / began.elapsed().as_secs_f64() / GIB)
}

fn recovery(dir: &Path) -> Outcome<f64> {
    let options = Options { mode: Mode::ReadOnly, ..Options::default() };
    let wal = Wal::open(dir, options, Arc::new(Waiter::default())).map_err(|e| e.to_string())?;
    let report = wal.recovery();
    Ok(report.scanned_bytes as f64 / (report.duration_ms / 1e3) / GIB)
}

fn main() -> Outcome<()> {
    let dir = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: scan_rate DIR")?);
    let path = newest(&dir)?;
    let mut rates: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        // In turns, so that what disturbs the machine disturbs all three.
        let now = [raw(&path, false)?, raw(&path, true)?, recovery(&dir)?];
        rates.iter_mut().zip(now).for_each(|(rates, now)| rates.push(now));
    }
    let all = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        format!("[{:.2},{:.2},{:.2}]", rates[ROUNDS / 2], rates[0], rates[ROUNDS - 1])
    });
    println!("{{\"read\":{},\"readAndCrc\":{},\"recovery\":{}}}", all[0], all[1], all[2]);
    Ok(())
}
