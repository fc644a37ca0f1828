//! Where in a value an output stands: a stack of frames, the innermost last. Bytes are taken one at a time.

use super::schema::{Field, Node, Schema};
use super::step;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Frame {
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
    Map {
        node: usize,
        part: Entry,
    },
}

/// Within a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
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
pub(super) enum Digits {
    Minus,
    Zero,
    Whole(u8),
    Point,
    Fraction(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Between {
    /// Behind the bracket.
    Open,
    /// Behind a value.
    After,
    /// Behind a comma, and behind a blank behind it.
    Comma,
    Blank,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Member {
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

/// Within an object of any keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Entry {
    Between(Between),
    /// Behind a key, behind the colon, and behind a blank behind that.
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
        self.0.iter().map(|frame| frame.left(schema)).fold(0, u32::saturating_add)
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

pub(super) enum Step {
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
            Self::Start(node) => step::start(schema, node, byte),
            Self::Literal { node, low, high, at } => step::literal(schema, node, (low, high), at, byte),
            Self::Text { node, count, part } => step::text(schema, node, count, part, byte),
            Self::Number { is_integer, part } => step::number(is_integer, part, byte),
            Self::List { node, count, part } => step::list(schema, node, count, part, byte),
            Self::Object { node, next, part } => step::object(schema, node, next, part, byte),
            Self::Map { node, part } => step::map(schema, node, part, byte),
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
                    Between::Open => missing.saturating_mul(one).saturating_sub(1).saturating_add(1),
                    Between::After => missing.saturating_mul(one).saturating_add(1),
                    Between::Comma | Between::Blank => missing.max(1).saturating_mul(one),
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
            Self::Map { node, part } => {
                let Node::Map { key, value } = schema.at(node) else { return 0 };
                let value = schema.least(*value) + 1;
                match part {
                    Entry::Between(Between::Open | Between::After) => 1,
                    Entry::Between(Between::Comma | Between::Blank) => schema.least(*key) + 1 + value,
                    Entry::Named => 1 + value,
                    Entry::Colon | Entry::Ready => value,
                }
            }
        }
    }
}

pub(super) fn literals(schema: &Schema, node: usize) -> &[Vec<u8>] {
    match schema.at(node) {
        Node::Literals(all) => all,
        _ => &[],
    }
}

pub(super) fn fields(schema: &Schema, node: usize) -> &[Field] {
    match schema.at(node) {
        Node::Object { fields } => fields,
        _ => &[],
    }
}

pub(super) fn lengths(schema: &Schema, node: usize) -> (u32, Option<u32>) {
    match schema.at(node) {
        Node::Text { min, max } => (*min, *max),
        _ => (0, None),
    }
}

/// Fields that may come next: up to the first that must.
pub(super) fn open_fields(fields: &[Field], next: usize) -> impl Iterator<Item = usize> {
    let must = fields[next..].iter().position(|field| field.required).map_or(fields.len(), |at| next + at + 1);
    next..must
}

/// Whether the first `at` bytes of two keys are the same.
pub(super) fn same(fields: &[Field], one: usize, other: usize, at: usize) -> bool {
    fields[other].key.len() >= at && fields[one].key[..at] == fields[other].key[..at]
}
