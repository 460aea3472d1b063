//! Which images there were, each counted once.

use forelog::campaign::{Class, Cut, Image, Policy};
use nohash_hasher::IntSet;
use std::fmt;

#[derive(Default)]
pub struct Mix {
    seen: IntSet<u64>,
    opened: u64,
    classes: Vec<(Class, u64)>,
}

impl Mix {
    /// Counts an image under what it was first met as.
    pub fn add(&mut self, image: &Image) {
        self.opened += 1;
        if !self.seen.insert(image.hash) {
            return;
        }
        match self.classes.iter_mut().find(|(class, _)| *class == image.class) {
            Some((_, count)) => *count += 1,
            None => self.classes.push((image.class, 1)),
        }
    }

    pub fn distinct(&self) -> u64 {
        self.seen.len() as u64
    }

    pub fn opened(&self) -> u64 {
        self.opened
    }

    fn count(&self, of: impl Fn(&Class) -> bool) -> u64 {
        self.classes.iter().filter(|(class, _)| of(class)).map(|(_, count)| count).sum()
    }
}

const CUTS: [(&str, Cut); 8] = [
    ("a roll", Cut::Roll),
    ("recovery", Cut::Recovery),
    ("a commit", Cut::Commit),
    ("a sync", Cut::Sync),
    ("a truncation", Cut::Truncation),
    ("background work", Cut::Background),
    ("closing", Cut::Close),
    ("creation", Cut::Creation),
];

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.distinct().max(1) as f64;
        let mut row = |label: &str, of: &dyn Fn(&Class) -> bool| {
            let (count, faulty) = (self.count(of), self.count(|class| of(class) && class.fault));
            writeln!(f, "{label:<24}{count:>10}{:>8.1} %{faulty:>14}{:>8.1} %", 100.0 * count as f64 / all, 100.0 * faulty as f64 / all)
        };
        row("distinct images", &|_| true)?;
        for (label, cut) in CUTS {
            row(&format!("  cut in {label}"), &|class| class.cut == cut)?;
        }
        row("  power cut", &|class| class.power)?;
        row("  process died", &|class| !class.power)?;
        row("  sectors of 512 B", &|class| !class.large_sectors)?;
        row("  sectors of 4 KiB", &|class| class.large_sectors)?;
        for (label, policy) in [("always", Policy::Always), ("now and then", Policy::Mixed), ("os", Policy::Os)] {
            row(&format!("  synced {label}"), &|class| class.policy == policy)?;
        }
        Ok(())
    }
}
