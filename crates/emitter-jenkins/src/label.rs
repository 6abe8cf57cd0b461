//! Jenkins' label expressions: parser, evaluator and printer.
//!
//! The grammar is the one of `LabelExpressionParser.g4` in Jenkins 2.578. Strongest first: `!`, `&&`, `||`, `->`, `<->`.
//! `->` does not chain, `!!x` is no expression, and `-` is an ordinary character unless `>` follows. What does not parse is
//! one label, blanks included, as `Jenkins.getLabel` has it. Written by hand: six precedence levels and one lexer need no
//! parser library, and none is in the tree.

use std::fmt;

/// Deeper or longer than this is no expression that a person wrote; it is taken for one label, which nobody has. Without a
/// bound a hostile text of brackets ends the process.
const DEEPEST: usize = 64;
const LONGEST: usize = 8192;

/// A label expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// One label.
    Atom(String),
    /// `!a`
    Not(Box<Expression>),
    /// `a && b`
    And(Box<Expression>, Box<Expression>),
    /// `a || b`
    Or(Box<Expression>, Box<Expression>),
    /// `a -> b`
    Implies(Box<Expression>, Box<Expression>),
    /// `a <-> b`
    Iff(Box<Expression>, Box<Expression>),
    /// `(a)`: kept, because Jenkins keeps it in names.
    Group(Box<Expression>),
}

use Expression::{And, Atom, Group, Iff, Implies, Not, Or};

impl Expression {
    /// Reads a text as Jenkins does: what does not parse is one label.
    pub fn parse(text: &str) -> Self {
        Self::strict(text).unwrap_or_else(|| Atom(text.trim().to_owned()))
    }

    /// Reads a text that must parse.
    pub fn strict(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut reader = Reader {
            tokens: tokens(text)?,
            at: 0,
            depth: 0,
        };
        let found = reader.iff()?;
        (reader.at == reader.tokens.len()).then_some(found)
    }

    /// Whether a node with these labels satisfies it.
    pub fn is_satisfied(&self, has: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Atom(label) => has(label),
            Not(inner) => !inner.is_satisfied(has),
            And(left, right) => left.is_satisfied(has) && right.is_satisfied(has),
            Or(left, right) => left.is_satisfied(has) || right.is_satisfied(has),
            Implies(left, right) => !left.is_satisfied(has) || right.is_satisfied(has),
            Iff(left, right) => left.is_satisfied(has) == right.is_satisfied(has),
            Group(inner) => inner.is_satisfied(has),
        }
    }

    /// The parts that must each be satisfied.
    pub(crate) fn conjuncts(&self) -> Vec<&Expression> {
        match self {
            And(left, right) => [left.conjuncts(), right.conjuncts()].concat(),
            Group(inner) => inner.conjuncts(),
            other => vec![other],
        }
    }
}

/// The name Jenkins gives it: without blanks.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom(label) if is_plain(label) => f.write_str(label),
            Atom(label) => {
                f.write_str("\"")?;
                for letter in label.chars() {
                    match letter {
                        '"' | '\\' => write!(f, "\\{letter}")?,
                        '\n' => f.write_str("\\n")?,
                        '\r' => f.write_str("\\r")?,
                        other => write!(f, "{other}")?,
                    }
                }
                f.write_str("\"")
            }
            Not(inner) => write!(f, "!{inner}"),
            And(left, right) => write!(f, "{left}&&{right}"),
            Or(left, right) => write!(f, "{left}||{right}"),
            Implies(left, right) => write!(f, "{left}->{right}"),
            Iff(left, right) => write!(f, "{left}<->{right}"),
            Group(inner) => write!(f, "({inner})"),
        }
    }
}

/// Whether a label can be written without quotes.
pub(crate) fn is_plain(label: &str) -> bool {
    matches!(tokens(label).as_deref(), Some([Token::Atom(read)]) if read == label)
        && !label.starts_with('"')
        // before a following arrow its last hyphen stays with it, as in `a-->b`
        && !label.contains("->")
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Atom(String),
    Sign(&'static str),
}

/// The words of a text, `None` when a character has no place in it.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t']);
    while !rest.is_empty() {
        let sign = ["<->", "->", "&&", "||", "!", "(", ")"]
            .into_iter()
            .find(|sign| rest.starts_with(sign));
        if let Some(sign) = sign {
            found.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let (label, after) = string(quoted)?;
            found.push(Token::Atom(label));
            rest = after;
        } else {
            let end = rest
                .char_indices()
                .find(|(at, letter)| {
                    "&|!<>() \t\"'".contains(*letter) || rest[*at..].starts_with("->")
                })
                .map_or(rest.len(), |(at, _)| at);
            if end == 0 {
                return None;
            }
            found.push(Token::Atom(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start_matches([' ', '\t']);
    }
    Some(found)
}

/// The rest of a quoted label, and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let mut label = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' if label.is_empty() => return None,
            '"' => return Some((label, &text[at + 1..])),
            '\r' | '\n' => return None,
            '\\' => label.push(match letters.next()?.1 {
                'b' => '\u{8}',
                't' => '\t',
                'n' => '\n',
                'f' => '\u{c}',
                'r' => '\r',
                kept @ ('"' | '\'' | '\\') => kept,
                _ => return None,
            }),
            other => label.push(other),
        }
    }
    None
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Reader {
    fn take(&mut self, sign: &str) -> bool {
        let there = matches!(self.tokens.get(self.at), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(there);
        there
    }

    fn iff(&mut self) -> Option<Expression> {
        let mut left = self.implies()?;
        while self.take("<->") {
            left = Iff(Box::new(left), Box::new(self.implies()?));
        }
        Some(left)
    }

    fn implies(&mut self) -> Option<Expression> {
        let left = self.or()?;
        if self.take("->") {
            return Some(Implies(Box::new(left), Box::new(self.or()?)));
        }
        Some(left)
    }

    fn or(&mut self) -> Option<Expression> {
        let mut left = self.and()?;
        while self.take("||") {
            left = Or(Box::new(left), Box::new(self.and()?));
        }
        Some(left)
    }

    fn and(&mut self) -> Option<Expression> {
        let mut left = self.not()?;
        while self.take("&&") {
            left = And(Box::new(left), Box::new(self.not()?));
        }
        Some(left)
    }

    fn not(&mut self) -> Option<Expression> {
        if self.take("!") {
            return Some(Not(Box::new(self.primary()?)));
        }
        self.primary()
    }

    fn primary(&mut self) -> Option<Expression> {
        if self.take("(") {
            self.depth += 1;
            let inner = (self.depth <= DEEPEST).then(|| self.iff())??;
            self.depth -= 1;
            return self.take(")").then(|| Group(Box::new(inner)));
        }
        match self.tokens.get(self.at) {
            Some(Token::Atom(label)) => {
                self.at += 1;
                Some(Atom(label.clone()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn has<'a>(labels: &'a [&'a str]) -> impl Fn(&str) -> bool + 'a {
        move |label| labels.contains(&label)
    }

    // The tables restate LabelExpressionTest.java of jenkinsci/jenkins 2.578 (MIT) in our words.

    #[test]
    fn names_drop_blanks_and_keep_brackets() {
        for (text, name) in [
            ("foo", "foo"),
            ("32bit.dot", "32bit.dot"),
            ("foo || bar", "foo||bar"),
            ("foo||bar&&zot", "foo||bar&&zot"),
            ("foo||(bar&&zot)", "foo||(bar&&zot)"),
            ("  ( foo || bar )  && zot", "(foo||bar)&&zot"),
            ("   foo \t\t ->   bar \t ", "foo->bar"),
            ("!foo <-> bar", "!foo<->bar"),
            ("aaa&&bbb&&ccc", "aaa&&bbb&&ccc"),
        ] {
            let read = Expression::strict(text);
            assert_eq!(read.map(|read| read.to_string()).as_deref(), Some(name));
        }
    }

    #[test]
    fn a_hyphen_is_an_ordinary_character_unless_an_arrow_follows() {
        for text in ["a-b", "--a----b-c-", "--", "-", "-1", "-abc-"] {
            assert_eq!(Expression::strict(text), Some(Atom(text.to_owned())));
        }
        let implies = |left: &str, right: &str| {
            Some(Implies(
                Box::new(Atom(left.to_owned())),
                Box::new(Atom(right.to_owned())),
            ))
        };
        assert_eq!(Expression::strict("a-->b"), implies("a-", "b"));
        assert_eq!(Expression::strict("a->-b"), implies("a", "-b"));
        assert_eq!(Expression::strict("a -> b"), implies("a", "b"));
    }

    #[test]
    fn quoted_labels_hold_anything() {
        for (text, label) in [
            (r#""abc\\\"def""#, r#"abc\"def"#),
            ("\"label1||label2\"", "label1||label2"),
        ] {
            assert_eq!(Expression::strict(text), Some(Atom(label.to_owned())));
        }
    }

    #[test]
    fn what_does_not_parse_is_one_label() {
        for text in [
            "foo bar",
            "foo (bar)",
            "foo(bar)",
            "a <- b",
            "a -< b",
            "a - b",
            "->",
            "-<",
            "-!",
            "!!a",
            "a->b->c",
            "a & b",
            "a||",
            "lucene.zones.apache.org (Solaris 10)",
        ] {
            assert_eq!(Expression::strict(text), None, "{text}");
            assert_eq!(Expression::parse(text), Atom(text.to_owned()));
        }
        assert!(Expression::strict(&"(".repeat(100_000)).is_none());
        let deep = format!("{}a{}", "(".repeat(500), ")".repeat(500));
        assert!(Expression::strict(&deep).is_none());
    }

    #[test]
    fn precedence_is_that_of_jenkins() {
        for (text, labels, fits) in [
            ("win && 32bit", &["win", "32bit"][..], true),
            ("win && 32bit", &["win", "64bit"], false),
            ("!win", &["linux"], true),
            ("a||b&&c", &["a"], true),
            ("(a||b)&&c", &["a"], false),
            ("!a&&b", &["b"], true),
            ("a->b||c", &["a", "c"], true),
            ("a->b", &["a"], false),
            ("a->b", &[], true),
            ("a<->b->c", &["a", "b"], false),
            ("a<->b", &[], true),
            ("Linux", &["linux"], false),
        ] {
            assert_eq!(
                Expression::parse(text).is_satisfied(&has(labels)),
                fits,
                "{text} {labels:?}"
            );
        }
    }

    /// Binding strength, greater binds closer.
    fn level(expression: &Expression) -> u8 {
        match expression {
            Atom(_) | Group(_) => 5,
            Not(_) => 4,
            And(..) => 3,
            Or(..) => 2,
            Implies(..) => 1,
            Iff(..) => 0,
        }
    }

    fn at_least(least: u8, inner: Expression) -> Box<Expression> {
        Box::new(if level(&inner) < least {
            Group(Box::new(inner))
        } else {
            inner
        })
    }

    fn any() -> impl Strategy<Value = Expression> {
        let atom = prop_oneof!["[a-z0-9.-]{1,6}", "\\PC{1,8}"].prop_map(Atom);
        atom.prop_recursive(5, 40, 2, |inner| {
            let pair = (inner.clone(), inner.clone());
            prop_oneof![
                inner.prop_map(|a| Not(at_least(5, a))),
                pair.clone()
                    .prop_map(|(a, b)| And(at_least(3, a), at_least(4, b))),
                pair.clone()
                    .prop_map(|(a, b)| Or(at_least(2, a), at_least(3, b))),
                pair.clone()
                    .prop_map(|(a, b)| Implies(at_least(2, a), at_least(2, b))),
                pair.prop_map(|(a, b)| Iff(at_least(0, a), at_least(1, b))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(expression in any()) {
            let text = expression.to_string();
            prop_assert_eq!(Expression::strict(&text), Some(expression), "{}", text);
        }

        #[test]
        fn no_text_panics(text in "\\PC*", signs in "[-a<>|&!()\" \\\\\t]{0,40}") {
            for text in [text, signs] {
                let read = Expression::parse(&text);
                read.is_satisfied(&|label| label.len() > 2);
            }
        }
    }
}
