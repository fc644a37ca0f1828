//! The state of any key of the recommendation fold.

use super::bytes::Part;
use super::item::Item;
use super::shelf::Shelf;
use super::user::User;
use crate::state::{Stored, StoredError};

/// Version of the layout of the bytes.
const LAYOUT: u8 = 1;

#[derive(Debug, Clone, Default)]
pub enum State {
    #[default]
    Empty,
    User(Box<User>),
    Item(Box<Item>),
    Shelf(Box<Shelf>),
}

/// The state as one of its kinds, made where it is empty. A key has one kind for ever: its name says which.
macro_rules! kind {
    ($look:ident, $make:ident, $kind:ident) => {
        pub fn $look(&self) -> Option<&$kind> {
            match self {
                Self::$kind(inner) => Some(inner),
                _ => None,
            }
        }
        pub fn $make(&mut self) -> &mut $kind {
            if !matches!(self, Self::$kind(_)) {
                *self = Self::$kind(Box::default());
            }
            match self {
                Self::$kind(inner) => inner,
                _ => unreachable!("it was made above"),
            }
        }
    };
}

impl State {
    kind!(user, user_mut, User);
    kind!(item, item_mut, Item);
    kind!(shelf, shelf_mut, Shelf);
}

impl Stored for State {
    fn encode(&self, into: &mut Vec<u8>) {
        let kind = match self {
            Self::Empty => return,
            Self::User(_) => 1,
            Self::Item(_) => 2,
            Self::Shelf(_) => 3,
        };
        into.extend([LAYOUT, kind]);
        match self {
            Self::Empty => {}
            Self::User(user) => user.write(into),
            Self::Item(item) => item.write(into),
            Self::Shelf(shelf) => shelf.write(into),
        }
    }

    fn decode(mut bytes: &[u8]) -> Result<Self, StoredError> {
        let state = match bytes {
            [] => return Ok(Self::Empty),
            [LAYOUT, 1, rest @ ..] => {
                bytes = rest;
                Self::User(Part::read(&mut bytes)?)
            }
            [LAYOUT, 2, rest @ ..] => {
                bytes = rest;
                Self::Item(Part::read(&mut bytes)?)
            }
            [LAYOUT, 3, rest @ ..] => {
                bytes = rest;
                Self::Shelf(Part::read(&mut bytes)?)
            }
            _ => return Err(StoredError("its layout or kind is not known")),
        };
        if bytes.is_empty() { Ok(state) } else { Err(StoredError("bytes are left over")) }
    }

    fn cost_bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Empty => 0,
                Self::User(user) => size_of::<User>() + user.heap_bytes(),
                Self::Item(item) => size_of::<Item>() + item.heap_bytes(),
                Self::Shelf(shelf) => size_of::<Shelf>() + shelf.heap_bytes(),
            }
    }
}
