//! Names are well-formed for any input.

use proptest::prelude::*;

use super::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::collection::vec(
            proptest::sample::select(vec!['.', ':', '|', '@', '/', '\n', '\u{85}', 'x', 'ö']),
            0..8
        )
        .prop_map(String::from_iter),
        ".{0,300}",
    ]
}

fn ends_a_name(c: char) -> bool {
    matches!(c, ':' | '|' | '@' | '/') || c.is_whitespace() || c.is_control()
}

proptest! {
    #[test]
    fn no_character_in_a_part_ends_a_name(text in text()) {
        for names in [Names::Clean, Names::Original] {
            let part = part(names, Some(&text));
            prop_assert_eq!(part.is_some(), !text.is_empty());
            let part = part.unwrap_or_default();
            prop_assert!(!part.contains(ends_a_name), "{:?}", part);
            let is_clean = part.len() <= MAX_PART && !part.contains('.');
            prop_assert!(names == Names::Original || is_clean, "{:?}", part);
            // Every character is kept or replaced by `_`, in the same place, up to the maximum length.
            let is_kept = part.chars().zip(text.chars()).all(|(escaped, given)| escaped == given || escaped == '_');
            let may_be_cut = names == Names::Clean && text.len() > MAX_PART;
            prop_assert!(is_kept && (part.chars().count() == text.chars().count() || may_be_cut));
        }
    }

    #[test]
    fn no_character_in_a_prefix_or_suffix_ends_a_name(text in text()) {
        let prefix = prefix(&text);
        prop_assert!(!prefix.contains(ends_a_name) && !suffix(&text).contains(ends_a_name));
        prop_assert!(prefix.is_empty() || prefix.split('.').all(|part| !part.is_empty()), "{:?}", prefix);
    }
}
