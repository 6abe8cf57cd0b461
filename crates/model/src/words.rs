//! Text that others wrote, made harmless for a terminal and bounded.

/// Text that changes nothing on a terminal but its letters, and at most `most` of them.
pub fn visible(text: &str, most: usize) -> String {
    let harmless = |c: char| match c {
        '\t' | '\n' | '\r' => ' ',
        // directions and joins can make a line read like another one
        c if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') =>
        {
            '·'
        }
        c => c,
    };
    let mut shown: String = text.chars().take(most).map(harmless).collect();
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_or_turns_a_line_is_a_dot() {
        assert_eq!(visible("a\tb\u{1b}[2J\u{202e}c", 20), "a b·[2J·c");
        assert_eq!(visible("äöü", 2), "äö…");
        assert_eq!(visible("äöü", 3), "äöü");
    }
}
