//! One change to a true input: what chance, a faulty disk or an attacker who knows the format would do.

use proptest::prelude::*;
use proptest::sample::Index;

/// Numbers at which length fields and counts go wrong.
const LENGTHS: &[u64] =
    &[0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x00ff_ffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX >> 1, u64::MAX];

/// Numbers at which a decimal number goes wrong.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "007",
    "127",
    "255",
    "32768",
    "65536",
    "8388608",
    "99999999",
    "2147483648",
    "4294967295",
    "4294967296",
    "1099511627776",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1.5",
    "1e400",
    "-0.0",
];

/// Texts that stand for something else than themselves in some format.
const TOKENS: &[&str] = &[
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "[[[[[[[[",
    "{\"a\":",
    "..",
    "/",
    "//",
    "%2f",
    "%",
    "\\",
    "\n",
    "\r\n",
    "&",
    "=",
    ",",
    ";",
    "-",
    "_",
    "*",
    "~",
    "\u{0}",
    "\u{feff}",
    "\u{fffd}",
    "\u{10ffff}",
    "ß",
    "é",
    "&a",
    "*a",
    "!!binary",
    "<<",
    "in (",
    "notin",
    "!=",
];

#[derive(Debug, Clone)]
pub(crate) enum Change {
    FlipBit(Index, u8),
    SetByte(Index, u8),
    /// A little-endian number of one, two, four or eight bytes.
    SetLength(Index, u8, Length),
    /// The next decimal number becomes another.
    SetNumber(Index, Index),
    /// The next decimal number becomes lists within lists, deeper than any reader goes.
    Nest(Index, usize),
    Insert(Index, Vec<u8>),
    InsertToken(Index, Index),
    Cut(Index),
    Remove(Index, Index),
    /// A stretch is there twice: an entry, a key, a whole record.
    Repeat(Index, Index),
    /// A stretch of another input takes the place of what stands here.
    Splice {
        at: Index,
        other: Index,
        from: Index,
        to: Index,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Length {
    Known(Index),
    /// What stands there, and a little more or less.
    Shifted(i8),
}

impl Arbitrary for Change {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let index = any::<Index>;
        let length = prop_oneof![index().prop_map(Length::Known), any::<i8>().prop_map(Length::Shifted)];
        prop_oneof![
            3 => (index(), 0..8_u8).prop_map(|(at, bit)| Self::FlipBit(at, bit)),
            3 => (index(), any::<u8>()).prop_map(|(at, value)| Self::SetByte(at, value)),
            3 => (index(), 0..4_u8, length).prop_map(|(at, width, to)| Self::SetLength(at, width, to)),
            3 => (index(), index()).prop_map(|(at, number)| Self::SetNumber(at, number)),
            1 => (index(), 1..400_usize).prop_map(|(at, depth)| Self::Nest(at, depth)),
            1 => (index(), prop::collection::vec(any::<u8>(), 1..24)).prop_map(|(at, bytes)| Self::Insert(at, bytes)),
            2 => (index(), index()).prop_map(|(at, token)| Self::InsertToken(at, token)),
            1 => index().prop_map(Self::Cut),
            1 => (index(), index()).prop_map(|(from, to)| Self::Remove(from, to)),
            2 => (index(), index()).prop_map(|(from, to)| Self::Repeat(from, to)),
            2 => (index(), index(), index(), index())
                .prop_map(|(at, other, from, to)| Self::Splice { at, other, from, to }),
        ]
        .boxed()
    }
}

impl Change {
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
        let end = bytes.len();
        match self {
            Self::Insert(at, more) => insert(bytes, *at, more),
            Self::InsertToken(at, token) => insert(bytes, *at, token.get(TOKENS).as_bytes()),
            Self::Splice { at, other, from, to } => {
                let other = other.get(others);
                let stretch = &other[stretch(other.len(), *from, *to)];
                let at = at.index(end + 1);
                bytes.splice(at..end.min(at + stretch.len()), stretch.iter().copied());
            }
            _ if bytes.is_empty() => {}
            Self::FlipBit(at, bit) => bytes[at.index(end)] ^= 1 << bit,
            Self::SetByte(at, value) => bytes[at.index(end)] = *value,
            Self::SetLength(at, width, to) => set_length(bytes, at.index(end), 1 << width, to),
            Self::SetNumber(at, number) => {
                let number: &&str = number.get(NUMBERS);
                set_number(bytes, at.index(end), number);
            }
            Self::Nest(at, depth) => {
                let lists = format!("{}0{}", "[".repeat(*depth), "]".repeat(*depth));
                set_number(bytes, at.index(end), &lists);
            }
            Self::Cut(at) => bytes.truncate(at.index(end)),
            Self::Remove(from, to) => drop(bytes.drain(stretch(end, *from, *to))),
            Self::Repeat(from, to) => {
                let stretch = stretch(end, *from, *to);
                let (end, again) = (stretch.end, bytes[stretch].to_vec());
                bytes.splice(end..end, again);
            }
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: Index, more: &[u8]) {
    let at = at.index(bytes.len() + 1);
    bytes.splice(at..at, more.iter().copied());
}

fn stretch(length: usize, from: Index, to: Index) -> std::ops::Range<usize> {
    let (from, to) = (from.index(length + 1), to.index(length + 1));
    from.min(to)..from.max(to)
}

fn set_length(bytes: &mut [u8], at: usize, width: usize, to: &Length) {
    let end = bytes.len().min(at + width);
    let place = &mut bytes[at..end];
    let mut number = [0; 8];
    number[..place.len()].copy_from_slice(place);
    let number = match to {
        Length::Known(index) => *index.get(LENGTHS),
        Length::Shifted(by) => u64::from_le_bytes(number).wrapping_add_signed(i64::from(*by)),
    };
    place.copy_from_slice(&number.to_le_bytes()[..place.len()]);
}

fn set_number(bytes: &mut Vec<u8>, at: usize, number: &str) {
    let Some(from) = bytes[at..].iter().position(u8::is_ascii_digit).map(|place| at + place) else { return };
    let digits = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.splice(from..from + digits, number.bytes());
}
