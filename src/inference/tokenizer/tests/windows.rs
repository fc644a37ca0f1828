use super::super::{head, longest_first, slide};
use proptest::prelude::*;

#[test]
fn a_text_is_cut_between_characters() {
    assert_eq!(head("naïve 中文", 3), "naï");
    assert_eq!(head("中文", 9), "中文");
}

#[test]
fn of_a_pair_the_longer_gives_way() {
    assert_eq!(longest_first((3, 4), 10), (3, 4));
    assert_eq!(longest_first((2, 40), 10), (2, 8));
    assert_eq!(longest_first((40, 3), 10), (7, 3));
    assert_eq!(longest_first((40, 30), 11), (5, 6));
}

proptest! {
    /// Would catch: a token that no window has, a window that is too long or overlaps too little.
    #[test]
    fn windows_cover_the_text(length in 0usize..500, room in 1usize..60, stride in 0usize..60) {
        let Ok(windows) = slide(length, room, Some(stride)) else {
            prop_assert!(stride >= room && length > room);
            return Ok(());
        };
        prop_assert_eq!((windows[0].start, windows[windows.len() - 1].end), (0, length));
        for pair in windows.windows(2) {
            prop_assert_eq!(pair[0].end - pair[1].start, stride);
        }
        prop_assert!(windows.iter().all(|w| w.len() <= room));
    }

    #[test]
    fn a_pair_fills_the_room(first in 0usize..90, second in 0usize..90, room in 2usize..90) {
        let (a, b) = longest_first((first, second), room);
        prop_assert!(a <= first && b <= second && a + b == room.min(first + second));
    }
}
