//! Keeps the worked example of docs/format.md true: the codecs write it, the engine opens it, and the page shows it.
#![allow(clippy::unwrap_used)]

use crate::cursors::codec::Slot;
use crate::format::commit_times::CommitTimes;
use crate::format::control::{ControlState, Mark, FILE_BYTES};
use crate::format::file_names::file_name;
use crate::format::footer::{Footer, Index};
use crate::format::frame::{self, Frame, Kind, HEADER};
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Header;
use crate::format::record::RecordRef;
use crate::util::bytes::mask;
use crate::util::limits::PAGE;
use crate::write::group::{Batch, Group};
use crate::{Compression, Options, Waiter, Wal};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

const UUID: [u8; 16] = *b"an example's log";
const CREATED: u64 = 1_767_225_600_000;

fn header() -> Header {
    Header {
        uuid: UUID,
        id: 1,
        first: 1,
        salt: 0x0123_4567_89ab_cdef,
        predecessor: None,
        carried_end: 4096,
        recycled: false,
        compressed: false,
        stamped: true,
        created_ms: CREATED,
        hole: 0,
        greatest_before: 0,
    }
}

/// Returns the segment's bytes after four commits, and its end.
fn segment() -> (Vec<u8>, FrameBoundary) {
    let header = header();
    let mut bytes = header.encode();
    let mut end = FrameBoundary::start(&header);
    let put = RecordRef { key: Some(b"user:1"), value: Some(b"Ada"), ..Default::default() };
    let expiring = RecordRef { key: Some(b"session"), value: Some(b"x"), expires_at: Some(1_767_229_200_000), ..Default::default() };
    let delete = RecordRef { key: Some(b"user:1"), tombstone: true, ..Default::default() };
    let mut batch = Batch::new();
    for n in [1, 2] {
        batch.push(RecordRef { value: Some(b"event"), version: Some((7, n)), ..Default::default() }, 1024).unwrap();
    }
    let mut synced = 4096;
    for commit in 0..4 {
        let mut group = Group::default();
        match [put, expiring, delete].get(commit) {
            Some(record) => group.push(0, end.next, record, record.check(1024).unwrap()),
            None => group.push_batch(0, end.next, &mut batch),
        }
        group.pad();
        let gathered = &group.frames[0];
        let (head, body) = group.bytes[gathered.start..].split_at_mut(HEADER);
        let body_crc = mask(crc32c::crc32c(&body[..gathered.body_len]));
        let kind = if commit < 3 { Kind::Singles } else { Kind::Batch };
        let frame = Frame {
            body_len: gathered.body_len as u32,
            first: end.next,
            count: gathered.count,
            kind,
            codec: Compression::None,
            synced,
            body_crc,
            prev: end.crc,
            crc: 0,
            committed_ms: Some(CREATED + 1000 * (commit as u64 + 1)),
        };
        let crc = frame::encode(head, &frame, header.seed(), end.offset);
        bytes.extend_from_slice(&group.bytes[gathered.start..]);
        end = end.after(&Frame { crc, ..frame });
        synced = end.offset;
    }
    (bytes, end)
}

fn control(end: FrameBoundary) -> ControlState {
    let mark = Mark { segment: 1, offset: end.offset, position: end.next - 1 };
    ControlState { uuid: UUID, sequence: 3, active: 1, low_mark: 1, mark: Some(mark), fence: None }
}

fn cursors() -> Slot {
    let table = [("billing", 4), ("mail", 0)].map(|(name, position)| (name.into(), position)).into();
    Slot { uuid: UUID, sequence: 2, slot_bytes: PAGE, table }
}

fn dump(title: &str, bytes: &[u8], out: &mut String) {
    writeln!(out, "{title}").unwrap();
    for (i, row) in bytes.chunks(16).enumerate().filter(|(_, row)| row.iter().any(|b| *b != 0)) {
        let hex: Vec<_> = row.iter().map(|b| format!("{b:02x}")).collect();
        let text: String = row.iter().map(|b| if (0x20..0x7f).contains(b) { *b as char } else { '.' }).collect();
        writeln!(out, "{:06x}  {:<47}  {text}", i * 16, hex.join(" ")).unwrap();
    }
}

#[test]
fn the_hex_dump_in_the_format_page_is_what_the_codecs_write() {
    let (bytes, end) = segment();
    let mut text = String::from("```text\n");
    dump(&file_name(1, 1), &bytes, &mut text);
    text.push('\n');
    let mut index = Index::default();
    index.times = CommitTimes { least: CREATED + 1000, greatest: CREATED + 4000 };
    let footer = Footer { index, end };
    dump("Its footer, at 002000", &footer.encode(header().seed(), 0x2000), &mut text);
    text.push('\n');
    dump("CONTROL, slot 0", &control(end).encode(), &mut text);
    text.push('\n');
    dump("CURSORS, slot 0", &cursors().encode(), &mut text);
    text.push_str("```\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format.md");
    let page = std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    let (head, rest) = page.split_once("<!-- dump:begin -->\n").unwrap();
    let (shown, tail) = rest.split_once("<!-- dump:end -->").unwrap();
    if std::env::var_os("FORELOG_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}<!-- dump:begin -->\n\n{text}\n<!-- dump:end -->{tail}")).unwrap();
        return;
    }
    assert_eq!(shown.trim(), text.trim(), "run this test with FORELOG_WRITE_DOCS=1 to write the dump anew");
}

#[test]
fn the_engine_opens_the_log_of_the_format_page() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bytes, end) = segment();
    bytes.resize(64 << 10, 0);
    std::fs::write(dir.path().join(file_name(1, 1)), bytes).unwrap();
    let mut slots = control(end).encode();
    slots.resize(FILE_BYTES as usize, 0);
    std::fs::write(dir.path().join("CONTROL"), slots).unwrap();
    std::fs::write(dir.path().join("CURSORS"), cursors().twice()).unwrap();
    let wal = Wal::open(dir.path(), Options::default(), Arc::new(Waiter::default())).unwrap();
    assert!(wal.recovery().clean);
    assert_eq!((wal.positions().first, wal.positions().next), (1, 6));
    assert_eq!(wal.cursors().unwrap(), [("billing".into(), 4), ("mail".into(), 0)]);
    let block = wal.reader(1, u64::MAX).unwrap().next_block(4096).unwrap().unwrap();
    assert_eq!(block.len(), 5);
    let records: Vec<_> = block.iter().collect();
    assert_eq!((records[0].key, records[0].value, records[4].value), (Some(&b"user:1"[..]), Some(&b"Ada"[..]), Some(&b"event"[..])));
    assert_eq!(block.numbers(), [1_767_229_200_000, 7, 1, 7, 2]);
}
