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

/// `1 machine`, `2 machines`: a number with what it counts, a noun that takes an s.
pub fn counted(n: impl std::fmt::Display, noun: &str) -> String {
    let n = n.to_string();
    let plural = if n == "1" { "" } else { "s" };
    format!("{n} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        let said = [0_u32, 1, 2].map(|n| counted(n, "job"));
        assert_eq!(said, ["0 jobs", "1 job", "2 jobs"]);
    }

    #[test]
    fn what_moves_a_cursor_or_turns_a_line_is_a_dot() {
        assert_eq!(visible("a\tb\u{1b}[2J\u{202e}c", 20), "a b·[2J·c");
        assert_eq!(visible("äöü", 2), "äö…");
        assert_eq!(visible("äöü", 3), "äöü");
    }
}
