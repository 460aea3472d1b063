//! The rooms of the engine are in an order, and an import never goes up in it.
//!
//! The test reads the sources: each `use` and each path that begins with `crate`, `super` or `self`, except in comments, strings and
//! code that is compiled for tests alone. `lib.rs` is above all rooms and is not checked.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the ground up. A room may use itself and the rooms above it in this list.
const ROOMS: [&[&str]; 13] = [
    &["error", "options", "util"],
    &["format"],
    &["observe"],
    &["storage"],
    &["segments"],
    &["recovery"],
    &["write"],
    &["read"],
    &["cursors"],
    &["maintenance"],
    &["log"],
    &["blocking"],
    &["testing"],
];

fn floor_of(room: &str) -> Option<usize> {
    ROOMS.iter().position(|names| names.contains(&room))
}

/// Splits Rust source into words, `::` and single characters, each with its line. Comments, strings and characters are left out.
fn tokens(source: &str) -> Vec<(String, usize)> {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut found, mut i, mut line) = (Vec::new(), 0, 1);
    while i < chars.len() {
        let start = i;
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            '"' => {
                i += 1;
                while at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            'r' if matches!((at(i + 1), at(i + 2)), ('"', _) | ('#', '"' | '#')) => {
                let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
                i += hashes + 2;
                while at(i) != '"' || (1..=hashes).any(|n| at(i + n) != '#') {
                    i += 1;
                }
                i += hashes + 1;
            }
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => {
                i += if at(i + 1) == '\\' { 3 } else { 2 };
                while at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            ':' if at(i + 1) == ':' => {
                found.push(("::".to_owned(), line));
                i += 2;
            }
            // The prefix of a byte string goes with it.
            'b' if matches!((at(i + 1), at(i + 2)), ('"' | '\'', _) | ('r', '"' | '#')) => i += 1,
            c if is_word(c) => {
                while is_word(at(i)) {
                    i += 1;
                }
                found.push((chars[start..i].iter().collect(), line));
            }
            c => {
                if !c.is_whitespace() {
                    found.push((c.to_string(), line));
                }
                i += 1;
            }
        }
        line += chars[start..i].iter().filter(|c| **c == '\n').count();
    }
    found
}

/// A path that a file mentions, with its line. Whether a file is compiled for tests alone is up to whoever declares its module.
#[derive(Default)]
struct Mentions {
    paths: Vec<(Vec<String>, usize)>,
    test_modules: BTreeSet<String>,
}

/// Index after what begins at `i`: with the first of `ends` that is in no brackets.
fn skip(tokens: &[(String, usize)], mut i: usize, ends: &[&str]) -> usize {
    let mut depth = 0;
    while let Some((token, _)) = tokens.get(i) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        // The last field of a struct ends with the struct.
        if depth < 0 {
            break;
        }
        i += 1;
        if depth == 0 && ends.contains(&token.as_str()) {
            break;
        }
    }
    i
}

/// Adds the leaves of the use tree at `i` and returns the index after it.
fn use_tree(tokens: &[(String, usize)], mut i: usize, prefix: &[String], found: &mut Vec<(Vec<String>, usize)>) -> usize {
    let mut path = prefix.to_vec();
    let line = tokens[i].1;
    loop {
        match tokens[i].0.as_str() {
            "{" => {
                i += 1;
                while tokens[i].0 != "}" {
                    i = use_tree(tokens, i, &path, found);
                    i += usize::from(tokens[i].0 == ",");
                }
                return i + 1;
            }
            "as" => i += 2,
            "," | "}" | ";" => break,
            "::" => i += 1,
            word => {
                path.push(word.to_owned());
                i += 1;
            }
        }
    }
    found.push((path, line));
    i
}

/// What `source`, the file of `module`, mentions; `super` and `self` are resolved.
fn mentions(source: &str, module: &[String]) -> Mentions {
    let tokens = tokens(source);
    let is = |i: usize, text: &str| tokens.get(i).is_some_and(|(token, _)| token == text);
    let mut found = Mentions::default();
    // Modules that are written inside of the file, with the depth of their braces.
    let (mut nested, mut depth) = (Vec::new(), 0);
    let mut i = 0;
    while i < tokens.len() {
        let (token, line) = (&tokens[i].0, tokens[i].1);
        let first = found.paths.len();
        match token.as_str() {
            "#" if is(i + 1, "[") => {
                let end = skip(&tokens, i + 1, &["]"]);
                let text: String = tokens[i..end].iter().map(|(token, _)| token.as_str()).collect();
                i = end;
                if text == "#[cfg(test)]" || text.starts_with("#[cfg(all(test,") {
                    while is(i, "#") {
                        i = skip(&tokens, i + 1, &["]"]);
                    }
                    let end = skip(&tokens, i, &["}", ";"]);
                    if let Some(name) = (i..end).find(|at| is(*at, "mod")).and_then(|at| tokens.get(at + 1)) {
                        found.test_modules.insert(name.0.clone());
                    }
                    i = end;
                }
                continue;
            }
            "mod" if is(i + 2, "{") => {
                nested.push((depth, tokens[i + 1].0.clone()));
                i += 2;
                continue;
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                nested.retain(|(outside, _)| *outside < depth);
            }
            "use" => i = use_tree(&tokens, i + 1, &[], &mut found.paths),
            "crate" | "super" | "self" if is(i + 1, "::") && !(i > 0 && is(i - 1, "::")) => {
                let mut path = vec![token.clone()];
                while is(i + 1, "::") && tokens.get(i + 2).is_some_and(|(next, _)| next.chars().all(|c| c.is_alphanumeric() || c == '_')) {
                    path.push(tokens[i + 2].0.clone());
                    i += 2;
                }
                found.paths.push((path, line));
            }
            _ => {}
        }
        for (path, _) in &mut found.paths[first..] {
            let mut base: Vec<String> = module.iter().chain(nested.iter().map(|(_, name)| name)).cloned().collect();
            let ups = path.iter().take_while(|word| *word == "super").count();
            let within = match path[0].as_str() {
                "crate" => path.split_off(1),
                "self" => [base, path.split_off(1)].concat(),
                "super" => {
                    base.truncate(base.len() - ups);
                    [base, path.split_off(ups)].concat()
                }
                // Of another crate, or of a module inside of this one.
                _ => Vec::new(),
            };
            *path = within;
        }
        i += 1;
    }
    found.paths.retain(|(path, _)| !path.is_empty());
    found
}

/// What of the mentions of a file goes up.
fn going_up(file: &str, room: &str, found: &Mentions) -> Vec<String> {
    let from = floor_of(room).unwrap_or_else(|| panic!("{file} is in no room of the list in this test"));
    let mut wrong = Vec::new();
    for (path, line) in &found.paths {
        let text = path.join("::");
        match floor_of(&path[0]) {
            Some(to) if to <= from => {}
            // Tests use what the crate exports, as its users do.
            None if room == "testing" => {}
            Some(_) => wrong.push(format!("{file}:{line}: `{room}` uses crate::{text}, but `{}` is a room further up", path[0])),
            None => wrong.push(format!("{file}:{line}: `{room}` uses crate::{text}, which is in no room: name the room it comes from")),
        }
    }
    wrong
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn imports_between_rooms_only_go_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for path in rust_files(&src) {
        let source = fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(&src).unwrap().with_extension("");
        let mut module: Vec<String> = file.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        module.pop_if(|last| last == "mod" || last == "lib");
        let found = mentions(&source, &module);
        files.push((path.strip_prefix(&src).unwrap().display().to_string(), module, found));
    }
    assert!(files.len() > 100, "only {} files", files.len());
    let of_tests: BTreeSet<Vec<String>> = files
        .iter()
        .flat_map(|(_, module, found)| found.test_modules.iter().map(|name| [module.clone(), vec![name.clone()]].concat()))
        .collect();
    let mut wrong = Vec::new();
    for (file, module, found) in &files {
        let is_test = (1..=module.len()).any(|n| of_tests.contains(&module[..n]));
        if !module.is_empty() && !is_test {
            wrong.extend(going_up(file, &module[0], found));
        }
    }
    assert!(wrong.is_empty(), "the rooms are {ROOMS:?} from the ground up; imports may only go down:\n{}", wrong.join("\n"));
}

#[test]
fn the_format_room_does_no_io() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/format");
    // `Fault` is the error of a failed call of the disk.
    let of_io = ["Fault", "fs", "path", "thread", "time", "net", "process", "env"];
    for path in rust_files(&src) {
        for (token, line) in tokens(&fs::read_to_string(&path).unwrap()) {
            assert!(!of_io.contains(&token.as_str()), "{}:{line}: `format` turns bytes into values, but uses {token}", path.display());
        }
    }
}

#[test]
fn an_import_that_goes_up_is_found_however_it_is_written() {
    let module = ["format".to_owned(), "frame".to_owned()];
    let wrong = |source: &str| going_up("format/frame.rs", "format", &mentions(source, &module)).len();
    assert_eq!(wrong("use crate::error::{Error, Result};\nuse super::page::{self, Page};"), 0);
    assert_eq!(wrong("use crate::log::state::State;"), 1);
    assert_eq!(wrong("pub(crate) use crate::{error::Error, log::{open, state::{self, State as Log}}};"), 3);
    assert_eq!(wrong("fn f() -> crate::write::Writer {}"), 1);
    assert_eq!(wrong("use super::super::log::open;"), 1);
    assert_eq!(wrong("mod system { use super::super::super::log::open; use super::super::page; }\nuse super::super::log;"), 2);
    assert_eq!(wrong("use crate::Wal;"), 1, "through the root of the crate");
    assert_eq!(wrong("// use crate::log::open;\n/* crate::log */ const TEXT: &str = \"use crate::log::open;\"; const C: char = '\"';"), 0);
    assert_eq!(wrong("const RAW: &str = r#\"use crate::log::\"open\";\"#; const B: &[u8] = b\"crate::log\"; struct S<'a>(&'a u8);"), 0);
    assert_eq!(wrong("#[cfg(test)]\nmod tests { use crate::log::open; }\n#[cfg(test)]\n#[path = \"x\"]\nuse crate::log::state;"), 0);
    assert_eq!(wrong("#[cfg(test)]\nfn f() -> [u8; 4] { crate::log::open() }\nfn g() { crate::log::open() }"), 1);
    assert_eq!(wrong("#[cfg(any(test, feature = \"sim\"))]\npub fn open() { crate::log::open() }"), 1);
}
