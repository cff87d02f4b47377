//! Our block in the bytes of a hosts file. Uses nothing but the standard library: the fuzzer includes this file as it is.
//!
//! ```text
//! # flow_router MITM begin
//! 127.0.0.1 api.example.com
//! ::1 api.example.com
//! # flow_router MITM end
//! ```
//!
//! * Putting it in twice is putting it in once; putting it in and taking it out gives the file back byte for byte. Where the
//!   last line had no end, the begin marker says ` +eol`, so that the end that we gave it is taken back.
//! * Lines of the user are never changed, also not between our markers, and never joined.
//! * A begin without an end claims only lines that are ours beyond doubt, never the rest of the file.
//! * The file is bytes: what it is encoded in, and how its lines end, stays.

use std::{fmt, net::IpAddr, ops::Range};

const BEGIN: &[u8] = b"# flow_router MITM begin";
const BEGIN_EOL: &[u8] = b"# flow_router MITM begin +eol";
const END: &[u8] = b"# flow_router MITM end";
const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";
/// Largest file that is edited, bytes.
pub(super) const FILE_MAX: usize = 1024 * 1024;

/// What should stand in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Names, in the order of the block; a name that comes again is left out.
    pub hosts: &'a [&'a str],
    /// Addresses that we listen on, each written for every name: `127.0.0.1`, and `::1` if that is bound too.
    pub addresses: &'a [IpAddr],
    /// Every name that we may ever have written: what tells our lines from others in a damaged block.
    pub catalogue: &'a [&'a str],
    /// Whether a file without any line end gets those of Windows.
    pub windows: bool,
}

/// Why the file is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// What is not ours of it is in UTF-16, which no resolver reads.
    Utf16,
    /// It is larger than 1 MiB, or would be.
    TooLarge,
    /// A line of the user sends one of the names elsewhere. Which of two lines wins differs between systems.
    Conflict {
        /// Number of the line, from 1.
        line: usize,
        /// The name.
        host: String,
        /// Where the line sends it.
        address: IpAddr,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utf16 => f.write_str("the hosts file is in UTF-16"),
            Self::TooLarge => f.write_str("the hosts file is larger than 1 MiB, or would be with our lines"),
            Self::Conflict { line, host, address } => {
                write!(f, "line {line} of the hosts file sends {host} to {address}: remove it first")
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// The file with our block: where the first old one stood, else at the end. Never one that [`remove`] would refuse.
pub(super) fn apply(file: &[u8], wanted: &Wanted<'_>) -> Result<Vec<u8>, Refusal> {
    let (bom, text) = open(file)?;
    let without = take_out(text, wanted.catalogue);
    conflicts(text, &without.user, wanted)?;
    // What stood before a mark of the encoding may have been ours: then the mark is at the front now.
    let moved = if bom.is_empty() && without.bytes.starts_with(UTF8_BOM) { UTF8_BOM.len() } else { 0 };
    let (moved_bom, base) = without.bytes.split_at(moved);
    let marked = !(bom.is_empty() && moved_bom.is_empty());
    if !marked && (base.starts_with(b"\xff\xfe") || base.starts_with(b"\xfe\xff")) {
        return Err(Refusal::Utf16);
    }
    let eol = line_end(base, wanted.windows);
    let at = without.first.map_or(base.len(), |first| first.saturating_sub(moved)).min(base.len());
    let (before, after) = base.split_at(at);
    // Only at the end: everywhere else a line has ended.
    let unended = before.last().is_some_and(|&last| last != b'\n');
    let mut out = [bom, moved_bom, before].concat();
    let mut line = |words: &[&[u8]]| {
        words.iter().for_each(|word| out.extend_from_slice(word));
        out.extend_from_slice(eol);
    };
    if unended {
        line(&[]);
    }
    line(&[if unended { BEGIN_EOL } else { BEGIN }]);
    for (n, host) in wanted.hosts.iter().enumerate() {
        if wanted.hosts[..n].contains(host) {
            continue;
        }
        for address in wanted.addresses {
            line(&[address.to_string().as_bytes(), b" ", host.as_bytes()]);
        }
    }
    line(&[END]);
    out.extend_from_slice(after);
    if out.len() > FILE_MAX {
        return Err(Refusal::TooLarge);
    }
    Ok(out)
}

/// The file without any block of ours. Asks nothing of what else is in it: a block that is there must be able to go.
pub(super) fn remove(file: &[u8], catalogue: &[&str]) -> Result<Vec<u8>, Refusal> {
    let (bom, text) = open(file)?;
    Ok([bom, &take_out(text, catalogue).bytes].concat())
}

/// The mark of the encoding, and the rest.
fn open(file: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if file.len() > FILE_MAX {
        return Err(Refusal::TooLarge);
    }
    Ok(file.split_at(if file.starts_with(UTF8_BOM) { UTF8_BOM.len() } else { 0 }))
}

/// A file without our blocks.
struct Without {
    bytes: Vec<u8>,
    /// Where the first block stood in `bytes`.
    first: Option<usize>,
    /// The lines that are not ours, as places in what was read, with their numbers.
    user: Vec<(usize, Range<usize>)>,
}

fn take_out(text: &[u8], catalogue: &[&str]) -> Without {
    let lines = lines(text);
    let content = |n: usize| trimmed(&text[lines[n].clone()]);
    let mut out = Without { bytes: Vec::with_capacity(text.len()), first: None, user: Vec::new() };
    // Length of the output behind a line end that we had added, and which one that was: the same as the marker's. A last
    // line of the user may end in a CR of its own.
    let mut added_eol = None;
    // For each line the next marker, itself included: found once, from the end.
    let mut next_marker = vec![None; lines.len() + 1];
    for n in (0..lines.len()).rev() {
        next_marker[n] = marker(content(n)).map(|kind| (n, kind)).or(next_marker[n + 1]);
    }
    let mut n = 0;
    while n < lines.len() {
        match marker(content(n)) {
            Some(kind @ (Marker::Begin | Marker::BeginEol)) => {
                out.first.get_or_insert(out.bytes.len());
                if kind == Marker::BeginEol {
                    added_eol = Some((out.bytes.len(), text[lines[n].clone()].ends_with(b"\r\n")));
                }
                let end = next_marker[n + 1].filter(|(_, kind)| *kind == Marker::End).map(|(at, _)| at);
                n += 1;
                match end {
                    Some(end) => {
                        for (inside, line) in lines.iter().enumerate().take(end).skip(n) {
                            // Between both markers every name on a loopback address is one that we wrote, also one that has
                            // left the catalogue since. Anything else was put there by the user.
                            if !is_ours(&text[line.clone()], None) {
                                out.keep(text, inside, line);
                            }
                        }
                        n = end + 1;
                    }
                    None => {
                        while n < lines.len() && is_ours(&text[lines[n].clone()], Some(catalogue)) {
                            n += 1;
                        }
                    }
                }
            }
            Some(Marker::End) => n += 1,
            None => {
                out.keep(text, n, &lines[n]);
                n += 1;
            }
        }
    }
    // Only if nothing follows: lines must not be joined.
    if let Some((length, crlf)) = added_eol
        && length == out.bytes.len()
    {
        let both = out.bytes.strip_suffix(b"\r\n").filter(|_| crlf);
        let bare = both.or_else(|| out.bytes.strip_suffix(b"\n")).map(<[u8]>::len);
        out.bytes.truncate(bare.unwrap_or(length));
    }
    out
}

impl Without {
    fn keep(&mut self, text: &[u8], number: usize, line: &Range<usize>) {
        self.bytes.extend_from_slice(&text[line.clone()]);
        self.user.push((number + 1, line.clone()));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Begin,
    BeginEol,
    End,
}

/// Files that were joined have marks of encodings inside; before one of our markers these are nobody's.
fn marker(mut content: &[u8]) -> Option<Marker> {
    while let Some(rest) = content.strip_prefix(UTF8_BOM) {
        content = rest;
    }
    match content {
        BEGIN => Some(Marker::Begin),
        BEGIN_EOL => Some(Marker::BeginEol),
        END => Some(Marker::End),
        _ => None,
    }
}

/// Lines with their ends.
fn lines(text: &[u8]) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        lines.push(start..start + line.len());
        start += line.len();
    }
    lines
}

/// A line without its end, and without blanks that an editor may have put there.
fn trimmed(line: &[u8]) -> &[u8] {
    line.trim_ascii_end()
}

/// Whether a line is a loopback address with one name, and that name is in `names`, if there are any to be in.
fn is_ours(line: &[u8], names: Option<&[&str]>) -> bool {
    let Ok(line) = std::str::from_utf8(trimmed(line)) else { return false };
    let mut words = line.split(' ');
    let (Some(address), Some(name), None) = (words.next(), words.next(), words.next()) else { return false };
    let loopback = address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    loopback && !name.is_empty() && names.is_none_or(|names| names.iter().any(|known| known.eq_ignore_ascii_case(name)))
}

/// How most lines end.
fn line_end(text: &[u8], windows: bool) -> &'static [u8] {
    let all = text.iter().filter(|&&byte| byte == b'\n').count();
    let crlf = text.windows(2).filter(|pair| pair == b"\r\n").count();
    match (crlf * 2).cmp(&all) {
        std::cmp::Ordering::Greater => b"\r\n",
        std::cmp::Ordering::Less => b"\n",
        std::cmp::Ordering::Equal if windows => b"\r\n",
        std::cmp::Ordering::Equal => b"\n",
    }
}

/// Looks for lines of the user that send a wanted name elsewhere.
fn conflicts(text: &[u8], user: &[(usize, Range<usize>)], wanted: &Wanted<'_>) -> Result<(), Refusal> {
    for (number, line) in user {
        let line = String::from_utf8_lossy(&text[line.clone()]);
        let line = line.trim_start_matches('\u{feff}');
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        // An address of one link names it behind a percent sign.
        let address = words.next().and_then(|word| word.split('%').next()).and_then(|word| word.parse::<IpAddr>().ok());
        // A line without an address means nothing to anybody.
        let Some(address) = address.filter(|address| !wanted.addresses.contains(address)) else { continue };
        if let Some(host) = words.find(|word| wanted.hosts.iter().any(|host| host.eq_ignore_ascii_case(word))) {
            return Err(Refusal::Conflict { line: *number, host: host.to_owned(), address });
        }
    }
    Ok(())
}

/// Checks the promises on any bytes; the fuzzer calls this.
#[cfg(any(test, fuzzing))]
pub(crate) fn check(file: &[u8], wanted: &Wanted<'_>) {
    let Ok(removed) = remove(file, wanted.catalogue) else { return };
    assert_eq!(remove(&removed, wanted.catalogue).as_ref(), Ok(&removed), "taking out twice is once");
    if !file.windows(END.len()).any(|part| part == END) && !file.windows(BEGIN.len()).any(|part| part == BEGIN) {
        assert_eq!(removed, file, "a file without markers is not ours");
    }
    let Ok(applied) = apply(file, wanted) else { return };
    assert_eq!(apply(&applied, wanted).as_ref(), Ok(&applied), "putting in twice is once");
    assert_eq!(remove(&applied, wanted.catalogue).as_ref(), Ok(&removed), "and taking out undoes it");
    // Lines of the user are all there, in their order: what is left out is ours.
    let bom = if file.starts_with(UTF8_BOM) { UTF8_BOM.len() } else { 0 };
    let (file, removed) = (&file[bom..], &removed[bom..]);
    let mut kept = removed.split(|&byte| byte == b'\n');
    for line in file.split(|&byte| byte == b'\n') {
        let content = trimmed(line);
        if marker(content).is_none() && !is_ours(content, None) && !content.is_empty() {
            assert!(kept.any(|kept| trimmed(kept) == content), "{:?} was lost", String::from_utf8_lossy(line));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    const NAMES: &[&str] = &["a.example", "b.example"];

    fn wanted() -> Wanted<'static> {
        Wanted { hosts: NAMES, addresses: &[V4, V6], catalogue: NAMES, windows: false }
    }

    fn applied(file: &str) -> String {
        check(file.as_bytes(), &wanted());
        String::from_utf8(apply(file.as_bytes(), &wanted()).unwrap()).unwrap()
    }

    fn removed(file: &str) -> String {
        check(file.as_bytes(), &wanted());
        String::from_utf8(remove(file.as_bytes(), NAMES).unwrap()).unwrap()
    }

    const INNER: &str =
        "127.0.0.1 a.example\n::1 a.example\n127.0.0.1 b.example\n::1 b.example\n# flow_router MITM end\n";

    fn block(suffix: &str) -> String {
        format!("# flow_router MITM begin{suffix}\n{INNER}")
    }

    #[test]
    fn the_block_stands_at_the_end_and_goes_without_a_trace() {
        for (file, with) in [
            ("", block("")),
            ("127.0.0.1 localhost\n", format!("127.0.0.1 localhost\n{}", block(""))),
            ("127.0.0.1 localhost", format!("127.0.0.1 localhost\n{}", block(" +eol"))),
            ("a\r\nb\r\n", format!("a\r\nb\r\n{}", block("").replace('\n', "\r\n"))),
            ("a\r\nb", format!("a\r\nb\r\n{}", block(" +eol").replace('\n', "\r\n"))),
            ("a\r\nb\nc\n", format!("a\r\nb\nc\n{}", block(""))),
            ("\u{feff}", format!("\u{feff}{}", block(""))),
            ("\u{feff}x", format!("\u{feff}x\n{}", block(" +eol"))),
            ("\n\n", format!("\n\n{}", block(""))),
            ("x\r", format!("x\r\n{}", block(" +eol"))),
            ("a\r\nx\r", format!("a\r\nx\r\r\n{}", block(" +eol").replace('\n', "\r\n"))),
        ] {
            assert_eq!(applied(file), with);
            assert_eq!(applied(&with), with);
            assert_eq!(removed(&with), file);
        }
        // Not UTF-8, and no reason to be.
        let latin = b"127.0.0.1 b\xfccher # Stra\xdfe\n\0\n";
        let with = apply(latin, &wanted()).unwrap();
        assert_eq!(remove(&with, NAMES).unwrap(), latin);
        check(latin, &wanted());
    }

    #[test]
    fn an_old_block_gives_its_place_to_the_new_one() {
        let old = "x\n# flow_router MITM begin\n127.0.0.1 old.example\n# flow_router MITM end\ny\n";
        assert_eq!(applied(old), format!("x\n{}y\n", block("")));
        assert_eq!(removed(old), "x\ny\n", "a name that has left the catalogue goes too");
        // Two blocks, as after a restored backup: one stays, in the place of the first.
        let twice = format!("{}x\n{}", block(""), block(""));
        assert_eq!(applied(&twice), format!("{}x\n", block("")));
        // Lines that the user wrote behind a block that had added a line end: they are not joined with those before.
        let grown = format!("x\n{}y\n", block(" +eol"));
        assert_eq!(removed(&grown), "x\ny\n");
        assert_eq!(applied(&grown), format!("x\n{}y\n", block("")));
        assert_eq!(removed(&format!("x\n{}", block(" +eol").replace('\n', "  \n").replace("x  ", "x"))), "x");
    }

    #[test]
    fn damaged_blocks_never_cost_a_line_of_the_user() {
        for (file, without) in [
            ("x\n# flow_router MITM begin\n127.0.0.1 a.example\n::1 a.example\n10.0.0.1 nas\ny", "x\n10.0.0.1 nas\ny"),
            ("x\n# flow_router MITM begin\n127.0.0.1 mine.example\ny\n", "x\n127.0.0.1 mine.example\ny\n"),
            ("# flow_router MITM begin\n# flow_router MITM begin\n127.0.0.1 a.example\n# flow_router MITM end\n", ""),
            ("x\n# flow_router MITM end\ny\n", "x\ny\n"),
            (
                "# flow_router MITM begin\n10.0.0.1 nas\n# note\n127.0.0.1 a b\n# flow_router MITM end\n",
                "10.0.0.1 nas\n# note\n127.0.0.1 a b\n",
            ),
            ("# flow_router MITM begin", ""),
            ("# flow_router MITM beginning\n", "# flow_router MITM beginning\n"),
            (" # flow_router MITM begin\n127.0.0.1 a.example\n", " # flow_router MITM begin\n127.0.0.1 a.example\n"),
        ] {
            assert_eq!(removed(file), without, "{file:?}");
        }
    }

    #[test]
    fn what_cannot_be_edited_is_refused() {
        assert_eq!(apply(b"\xff\xfe1\0", &wanted()), Err(Refusal::Utf16));
        assert_eq!(apply(b"\xfe\xff\x001", &wanted()), Err(Refusal::Utf16));
        // Also where our block stands before the mark; and it goes all the same.
        let before = [block("").as_bytes(), b"\xfe\xff\x001"].concat();
        assert_eq!(apply(&before, &wanted()), Err(Refusal::Utf16));
        assert_eq!(remove(&before, NAMES).unwrap(), b"\xfe\xff\x001");
        check(&before, &wanted());
        assert_eq!(apply(&vec![b'\n'; FILE_MAX + 1], &wanted()), Err(Refusal::TooLarge));
        assert_eq!(remove(&vec![b'\n'; FILE_MAX + 1], NAMES), Err(Refusal::TooLarge));
        // What we would write must be what we can take out again.
        let largest = FILE_MAX - block("").len();
        let with = apply(&vec![b'\n'; largest], &wanted()).unwrap();
        assert_eq!(remove(&with, NAMES).unwrap(), vec![b'\n'; largest]);
        assert_eq!(apply(&vec![b'\n'; largest + 1], &wanted()), Err(Refusal::TooLarge));
        for (file, line) in [
            ("10.0.0.1 a.example\n", 1),
            ("#\n\n10.0.0.1\tx A.Example # why\n", 3),
            ("\u{feff}10.0.0.1 b.example", 1),
            ("fe80::1%lo0 a.example\n", 1),
            ("0.0.0.0 a.example\n", 1),
        ] {
            let Err(Refusal::Conflict { line: found, .. }) = apply(file.as_bytes(), &wanted()) else {
                panic!("{file:?}")
            };
            assert_eq!(found, line);
            assert!(remove(file.as_bytes(), NAMES).is_ok(), "taking out asks nobody");
        }
        for file in ["127.0.0.1 a.example\n", "# 10.0.0.1 a.example\n", "10.0.0.1 xa.example\n", "a.example 10.0.0.1\n"]
        {
            applied(file);
        }
    }

    #[test]
    fn names_come_once_and_windows_has_its_line_ends() {
        let wanted =
            Wanted { hosts: &["b.example", "a.example", "b.example"], addresses: &[V4], windows: true, ..wanted() };
        assert_eq!(
            apply(b"", &wanted).unwrap(),
            b"# flow_router MITM begin\r\n127.0.0.1 b.example\r\n127.0.0.1 a.example\r\n# flow_router MITM end\r\n"
        );
    }

    #[test]
    fn the_corpus_of_the_fuzzer_holds_its_promises() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/hosts_file");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            check(&std::fs::read(entry.unwrap().path()).unwrap(), &wanted());
            seen += 1;
        }
        assert!(seen > 10, "{seen}");
    }
}
