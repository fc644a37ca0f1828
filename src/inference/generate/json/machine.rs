//! Where in a value an output stands: a stack of frames, the innermost last. Bytes are taken one at a time.

use super::schema::{Field, Node, Schema};

/// Digits before and behind the point at most: every number is exact in 64 bits.
const DIGITS: u8 = 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Frame {
    /// A value of this node that has not begun.
    Start(usize),
    /// Literals `low..high` agree with what has come, which is `at` bytes.
    Literal {
        node: usize,
        low: usize,
        high: usize,
        at: usize,
    },
    Text {
        node: usize,
        count: u32,
        part: Part,
    },
    Number {
        is_integer: bool,
        part: Digits,
    },
    List {
        node: usize,
        count: u32,
        part: Between,
    },
    Object {
        node: usize,
        next: usize,
        part: Member,
    },
}

/// Within a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Plain,
    Escape,
    /// Inside a character: bytes that are missing, and what the next of them may be.
    Character {
        missing: u8,
        low: u8,
        high: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Digits {
    Minus,
    Zero,
    Whole(u8),
    Point,
    Fraction(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Between {
    /// Behind the bracket.
    Open,
    /// Behind a value.
    After,
    /// Behind a comma, and behind a blank behind it.
    Comma,
    Blank,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Member {
    Between(Between),
    /// Inside a key: `at` bytes of it agree with the key of field `which`, and perhaps with others'.
    Key {
        which: usize,
        at: usize,
    },
    /// Behind the key of the field before `next`, behind the colon, and behind a blank behind that.
    Named,
    Colon,
    Ready,
}

/// The stack; empty when the value is over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State(Vec<Frame>);

impl State {
    pub fn begin(root: usize) -> Self {
        Self(vec![Frame::Start(root)])
    }

    /// Nothing may come any more.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether what has come is a whole value.
    pub fn may_end(&self, schema: &Schema) -> bool {
        match self.0[..] {
            [] => true,
            [only] => only.may_end(schema),
            _ => false,
        }
    }

    /// Whether the last byte left a character unfinished.
    pub fn inside_character(&self) -> bool {
        matches!(self.0.last(), Some(Frame::Text { part: Part::Character { .. }, .. }))
    }

    /// The fewest bytes that end the value.
    pub fn left(&self, schema: &Schema) -> u32 {
        self.0.iter().map(|frame| frame.left(schema)).sum()
    }

    /// Takes a byte; `false` when it may not come here, and the state is then of no more use.
    pub fn advance(&mut self, schema: &Schema, byte: u8) -> bool {
        while let Some(frame) = self.0.pop() {
            match frame.step(schema, byte) {
                Step::Stay(frame) => {
                    self.0.push(frame);
                    return true;
                }
                Step::Into(frame, node) => {
                    self.0.extend([frame, Frame::Start(node)]);
                }
                Step::Over => return true,
                // A number or a literal ends where something comes that is not part of it.
                Step::Before => continue,
                Step::Wrong => return false,
            }
        }
        false
    }
}

enum Step {
    /// Taken.
    Stay(Frame),
    /// Not taken: it is the first byte of a value of that node inside the frame.
    Into(Frame, usize),
    /// Taken, and the frame is over.
    Over,
    /// Not taken, and the frame is over.
    Before,
    Wrong,
}

impl Frame {
    fn may_end(self, schema: &Schema) -> bool {
        match self {
            Self::Number { part, .. } => matches!(part, Digits::Zero | Digits::Whole(_) | Digits::Fraction(_)),
            Self::Literal { node, low, high, at } => literals(schema, node)[low..high].iter().any(|text| text.len() == at),
            _ => false,
        }
    }

    fn step(self, schema: &Schema, byte: u8) -> Step {
        match self {
            Self::Start(node) => start(schema, node, byte),
            Self::Literal { node, low, high, at } => literal(schema, node, (low, high), at, byte),
            Self::Text { node, count, part } => text(schema, node, count, part, byte),
            Self::Number { is_integer, part } => number(is_integer, part, byte),
            Self::List { node, count, part } => list(schema, node, count, part, byte),
            Self::Object { node, next, part } => object(schema, node, next, part, byte),
        }
    }

    fn left(self, schema: &Schema) -> u32 {
        match self {
            Self::Start(node) => schema.least(node),
            Self::Literal { node, low, high, at } => {
                literals(schema, node)[low..high].iter().map(|text| text.len() - at).min().unwrap_or(0) as u32
            }
            Self::Text { node, count, part } => {
                let (min, _) = lengths(schema, node);
                let missing = match part {
                    Part::Plain => 0,
                    Part::Escape => 1,
                    Part::Character { missing, .. } => u32::from(missing),
                };
                min.saturating_sub(count) + missing + 1
            }
            Self::Number { part, .. } => u32::from(matches!(part, Digits::Minus | Digits::Point)),
            Self::List { node, count, part } => {
                let Node::List { item, min, .. } = schema.at(node) else { return 0 };
                let (missing, one) = (min.saturating_sub(count), schema.least(*item) + 1);
                match part {
                    Between::Open => 1 + (missing * one).saturating_sub(1),
                    Between::After => 1 + missing * one,
                    Between::Comma | Between::Blank => missing.max(1) * one,
                }
            }
            Self::Object { node, next, part } => {
                let fields = fields(schema, node);
                let cost = |field: &Field| field.key.len() as u32 + 2 + schema.least(field.node);
                let after = |next: usize| 1 + fields[next..].iter().filter(|f| f.required).map(|f| 1 + cost(f)).sum::<u32>();
                match part {
                    Member::Between(Between::Open) if fields[next..].iter().any(|field| field.required) => after(next) - 1,
                    Member::Between(Between::Open | Between::After) => after(next),
                    Member::Between(Between::Comma | Between::Blank) => {
                        open_fields(fields, next).map(|at| cost(&fields[at]) + after(at + 1)).min().unwrap_or(0)
                    }
                    Member::Key { which, at } => {
                        let alike = open_fields(fields, next).filter(|other| same(fields, which, *other, at));
                        alike.map(|other| cost(&fields[other]) - 1 - at as u32 + after(other + 1)).min().unwrap_or(0)
                    }
                    Member::Named => 1 + schema.least(fields[next - 1].node) + after(next),
                    Member::Colon | Member::Ready => schema.least(fields[next - 1].node) + after(next),
                }
            }
        }
    }
}

fn literals(schema: &Schema, node: usize) -> &[Vec<u8>] {
    match schema.at(node) {
        Node::Literals(all) => all,
        _ => &[],
    }
}

fn fields(schema: &Schema, node: usize) -> &[Field] {
    match schema.at(node) {
        Node::Object { fields } => fields,
        _ => &[],
    }
}

fn lengths(schema: &Schema, node: usize) -> (u32, Option<u32>) {
    match schema.at(node) {
        Node::Text { min, max } => (*min, *max),
        _ => (0, None),
    }
}

/// Fields that may come next: up to the first that must.
fn open_fields(fields: &[Field], next: usize) -> impl Iterator<Item = usize> {
    let must = fields[next..].iter().position(|field| field.required).map_or(fields.len(), |at| next + at + 1);
    next..must
}

/// Whether the first `at` bytes of two keys are the same.
fn same(fields: &[Field], one: usize, other: usize, at: usize) -> bool {
    fields[other].key.len() >= at && fields[one].key[..at] == fields[other].key[..at]
}

fn start(schema: &Schema, node: usize, byte: u8) -> Step {
    match (schema.at(node), byte) {
        (Node::Literals(all), _) => literal(schema, node, (0, all.len()), 0, byte),
        (Node::Text { .. }, b'"') => Step::Stay(Frame::Text { node, count: 0, part: Part::Plain }),
        (Node::Number { is_integer }, b'-') => Step::Stay(Frame::Number { is_integer: *is_integer, part: Digits::Minus }),
        (Node::Number { is_integer }, b'0') => Step::Stay(Frame::Number { is_integer: *is_integer, part: Digits::Zero }),
        (Node::Number { is_integer }, b'1'..=b'9') => {
            Step::Stay(Frame::Number { is_integer: *is_integer, part: Digits::Whole(1) })
        }
        (Node::List { .. }, b'[') => Step::Stay(Frame::List { node, count: 0, part: Between::Open }),
        (Node::Object { .. }, b'{') => Step::Stay(Frame::Object { node, next: 0, part: Member::Between(Between::Open) }),
        _ => Step::Wrong,
    }
}

fn literal(schema: &Schema, node: usize, (low, high): (usize, usize), at: usize, byte: u8) -> Step {
    let all = &literals(schema, node)[low..high];
    let agrees = |text: &Vec<u8>| text.get(at) == Some(&byte);
    let Some(first) = all.iter().position(agrees) else {
        return if at > 0 && all.iter().any(|text| text.len() == at) { Step::Before } else { Step::Wrong };
    };
    // They are sorted, so those that agree stand together.
    let count = all[first..].iter().take_while(|text| agrees(text)).count();
    match count == 1 && all[first].len() == at + 1 {
        true => Step::Over,
        false => Step::Stay(Frame::Literal { node, low: low + first, high: low + first + count, at: at + 1 }),
    }
}

fn text(schema: &Schema, node: usize, count: u32, part: Part, byte: u8) -> Step {
    let (min, max) = lengths(schema, node);
    let stay = |count: u32, part: Part| Step::Stay(Frame::Text { node, count, part });
    // Without bounds nothing is counted, so that all places of a string are one state.
    let counted = || if min == 0 && max.is_none() { 0 } else { count + 1 };
    let inside = |missing: u8, low: u8, high: u8| stay(counted(), Part::Character { missing, low, high });
    match part {
        Part::Escape => match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => stay(count, Part::Plain),
            _ => Step::Wrong,
        },
        Part::Character { missing, low, high } if (low..=high).contains(&byte) => match missing {
            1 => stay(count, Part::Plain),
            _ => stay(count, Part::Character { missing: missing - 1, low: 0x80, high: 0xbf }),
        },
        Part::Character { .. } => Step::Wrong,
        Part::Plain if byte == b'"' => {
            if count >= min {
                Step::Over
            } else {
                Step::Wrong
            }
        }
        Part::Plain if max.is_some_and(|max| count >= max) => Step::Wrong,
        Part::Plain => match byte {
            b'\\' => stay(counted(), Part::Escape),
            0x20..=0x7f => stay(counted(), Part::Plain),
            0xc2..=0xdf => inside(1, 0x80, 0xbf),
            0xe0 => inside(2, 0xa0, 0xbf),
            0xed => inside(2, 0x80, 0x9f),
            0xe1..=0xef => inside(2, 0x80, 0xbf),
            0xf0 => inside(3, 0x90, 0xbf),
            0xf1..=0xf3 => inside(3, 0x80, 0xbf),
            0xf4 => inside(3, 0x80, 0x8f),
            _ => Step::Wrong,
        },
    }
}

fn number(is_integer: bool, part: Digits, byte: u8) -> Step {
    let part = match (part, byte) {
        (Digits::Minus, b'0') if !is_integer => Digits::Zero,
        (Digits::Minus, b'1'..=b'9') => Digits::Whole(1),
        (Digits::Minus | Digits::Point, b'.') => return Step::Wrong,
        (Digits::Whole(count), b'0'..=b'9') if count < DIGITS => Digits::Whole(count + 1),
        (Digits::Zero | Digits::Whole(_), b'.') if !is_integer => Digits::Point,
        (Digits::Point, b'0'..=b'9') => Digits::Fraction(1),
        (Digits::Fraction(count), b'0'..=b'9') if count < DIGITS => Digits::Fraction(count + 1),
        (Digits::Minus | Digits::Point, _) => return Step::Wrong,
        // No digit may follow here, and no parent takes one.
        _ => return Step::Before,
    };
    Step::Stay(Frame::Number { is_integer, part })
}

fn list(schema: &Schema, node: usize, count: u32, part: Between, byte: u8) -> Step {
    let Node::List { item, min, max } = schema.at(node) else { return Step::Wrong };
    let stay = |part: Between| Step::Stay(Frame::List { node, count, part });
    let room = max.is_none_or(|max| count < max);
    // Without an upper bound nothing is counted beyond the lower one.
    let counted = if max.is_none() { (count + 1).min(*min) } else { count + 1 };
    match (part, byte) {
        (Between::Open | Between::After, b']') => {
            if count >= *min {
                Step::Over
            } else {
                Step::Wrong
            }
        }
        (Between::After, b',') if room => stay(Between::Comma),
        (Between::After, _) => Step::Wrong,
        (Between::Comma, b' ') => stay(Between::Blank),
        _ if room => Step::Into(Frame::List { node, count: counted, part: Between::After }, *item),
        _ => Step::Wrong,
    }
}

fn object(schema: &Schema, node: usize, next: usize, part: Member, byte: u8) -> Step {
    let fields = fields(schema, node);
    let stay = |next: usize, part: Member| Step::Stay(Frame::Object { node, next, part });
    match (part, byte) {
        (Member::Between(Between::Open | Between::After), b'}') => match fields[next..].iter().any(|field| field.required) {
            true => Step::Wrong,
            false => Step::Over,
        },
        (Member::Between(Between::After), b',') if next < fields.len() => stay(next, Member::Between(Between::Comma)),
        (Member::Between(Between::After), _) => Step::Wrong,
        (Member::Between(Between::Comma), b' ') => stay(next, Member::Between(Between::Blank)),
        (Member::Between(_), b'"') if next < fields.len() => stay(next, Member::Key { which: next, at: 0 }),
        (Member::Between(_), _) => Step::Wrong,
        (Member::Key { which, at }, _) => {
            let alike = |other: &usize| same(fields, which, *other, at) && fields[*other].key.get(at) == Some(&byte);
            match open_fields(fields, next).find(alike) {
                None => Step::Wrong,
                // The quote behind a key is part of it, so no key begins another.
                Some(found) if fields[found].key.len() == at + 1 => stay(found + 1, Member::Named),
                Some(found) => stay(next, Member::Key { which: found, at: at + 1 }),
            }
        }
        (Member::Named, b':') => stay(next, Member::Colon),
        (Member::Named, _) => Step::Wrong,
        (Member::Colon, b' ') => stay(next, Member::Ready),
        (Member::Colon | Member::Ready, _) => {
            Step::Into(Frame::Object { node, next, part: Member::Between(Between::After) }, fields[next - 1].node)
        }
    }
}
