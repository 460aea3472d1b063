//! Views that are opened while the horizon page cannot be used: it is being written, or a truncation has overtaken the opening.

use super::*;
use crate::format::file_names::CONTROL;
use crate::format::horizon;
use crate::util::limits::PAGE;

/// A log of `count` records, of which the horizon page shows `shown`.
fn behind(shown: u64, count: u64) -> (Writer, Arc<SimDisk>) {
    let disk = Arc::new(SimDisk::new(1, 512));
    let mut writer = Writer::new(disk.clone());
    writer.append(shown);
    writer.tell();
    writer.append(count - shown);
    (writer, disk)
}

/// Opens a view while the horizon page is torn, and lets the page be read afterwards.
fn view_during_a_write_of_the_page(disk: &Arc<SimDisk>) -> Wal {
    let page = disk.bytes(CONTROL)[horizon::OFFSET as usize..].to_vec();
    disk.damage(CONTROL, horizon::OFFSET + PAGE / 2, &[1]);
    let view = view(&(disk.clone() as Arc<dyn Storage>));
    disk.damage(CONTROL, horizon::OFFSET, &page);
    view
}

/// Makes a view look at the page, and returns the position after its last record.
fn next_after_a_look(view: &Wal) -> u64 {
    view.shared.check_page();
    view.positions().next
}

#[test]
fn a_view_opened_during_a_write_of_the_horizon_page_never_goes_back_to_an_older_page() {
    // A segment holds four records: the page names the segment that the view finds, or one before it.
    for (shown, count) in [(9, 12), (10, 15), (3, 20)] {
        let (mut writer, disk) = behind(shown, count);
        let view = view_during_a_write_of_the_page(&disk);
        let next = view.positions().next;
        assert!(next > shown + 1, "the view shows what is proven durable, up to {next}");
        assert_eq!(next_after_a_look(&view), next);
        assert_eq!(read(&mut view.reader(StartPosition::First, u64::MAX).unwrap()).unwrap(), (1..next).collect::<Vec<_>>());
        writer.tell();
        assert_eq!(next_after_a_look(&view), count + 1);
        assert_eq!(read(&mut view.reader(StartPosition::First, u64::MAX).unwrap()).unwrap(), (1..=count).collect::<Vec<_>>());
    }
}

#[test]
fn a_view_opened_during_a_write_of_the_horizon_page_follows_a_truncation() {
    for command in [Command::TruncateAfter(5), Command::Reset(3), Command::Reset(700)] {
        let (mut writer, disk) = behind(10, 15);
        let view = view_during_a_write_of_the_page(&disk);
        writer.execute(command);
        writer.tell();
        assert_eq!(next_after_a_look(&view), writer.next());
        writer.append(2);
        writer.tell();
        assert_eq!(next_after_a_look(&view), writer.next());
    }
}

#[test]
fn a_view_whose_opening_a_truncation_overtakes_never_goes_back_to_an_older_page() {
    for appended in [1, 2, 5, 9, 20, 25, 40] {
        let mut is_done = false;
        let mut writer = Writer::new(Arc::new(SimDisk::new(1, 512)));
        writer.append(30);
        writer.tell();
        let layered = Layered::over(writer.shared.storage.clone(), Race::default());
        let (race, storage) = (layered.layer.clone(), Arc::new(layered) as Arc<dyn Storage>);
        let overtake = move |writer: &mut Writer| {
            if !std::mem::replace(&mut is_done, true) {
                writer.execute(Command::TruncateAfter(10));
                writer.tell();
                writer.append(appended);
            }
        };
        *locked(&race.0) = Some((writer, Box::new(overtake)));
        let view = view(&storage);
        let next = view.positions().next;
        assert!(next_after_a_look(&view) >= next, "after {appended} appends the view went back from {next}");
        locked(&race.0).as_mut().unwrap().0.tell();
        assert_eq!(next_after_a_look(&view), 11 + appended);
    }
}
