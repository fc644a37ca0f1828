//! What one byte does to a frame, by the kind of its node.

use super::machine::{Between, Digits, Entry, Frame, Member, Part, Step, fields, lengths, literals, open_fields, same};
use super::schema::{Node, Schema};

/// Digits before and behind the point at most: every number is exact in 64 bits.
const DIGITS: u8 = 15;

pub fn start(schema: &Schema, node: usize, byte: u8) -> Step {
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
        (Node::Map { .. }, b'{') => Step::Stay(Frame::Map { node, part: Entry::Between(Between::Open) }),
        (Node::Either(all), _) => {
            let mut steps = all.iter().map(|node| start(schema, *node, byte));
            steps.find(|step| !matches!(step, Step::Wrong)).unwrap_or(Step::Wrong)
        }
        _ => Step::Wrong,
    }
}

pub fn literal(schema: &Schema, node: usize, (low, high): (usize, usize), at: usize, byte: u8) -> Step {
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

pub fn text(schema: &Schema, node: usize, count: u32, part: Part, byte: u8) -> Step {
    let (min, max) = lengths(schema, node);
    let stay = |count: u32, part: Part| Step::Stay(Frame::Text { node, count, part });
    // Without an upper bound nothing is counted beyond the lower one, so that the places behind it are one state.
    let counted = || if max.is_none() { (count + 1).min(min) } else { count + 1 };
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

pub fn number(is_integer: bool, part: Digits, byte: u8) -> Step {
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

pub fn list(schema: &Schema, node: usize, count: u32, part: Between, byte: u8) -> Step {
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

pub fn object(schema: &Schema, node: usize, next: usize, part: Member, byte: u8) -> Step {
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

pub fn map(schema: &Schema, node: usize, part: Entry, byte: u8) -> Step {
    let Node::Map { key, value } = schema.at(node) else { return Step::Wrong };
    let stay = |part: Entry| Step::Stay(Frame::Map { node, part });
    match (part, byte) {
        (Entry::Between(Between::Open | Between::After), b'}') => Step::Over,
        (Entry::Between(Between::After), b',') => stay(Entry::Between(Between::Comma)),
        (Entry::Between(Between::After), _) => Step::Wrong,
        (Entry::Between(Between::Comma), b' ') => stay(Entry::Between(Between::Blank)),
        (Entry::Between(_), b'"') => Step::Into(Frame::Map { node, part: Entry::Named }, *key),
        (Entry::Between(_), _) => Step::Wrong,
        (Entry::Named, b':') => stay(Entry::Colon),
        (Entry::Named, _) => Step::Wrong,
        (Entry::Colon, b' ') => stay(Entry::Ready),
        (Entry::Colon | Entry::Ready, _) => Step::Into(Frame::Map { node, part: Entry::Between(Between::After) }, *value),
    }
}
