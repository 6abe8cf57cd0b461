//! JMESPath expressions of the configuration, read once and held.
//!
//! The language always ends and reads nothing but the value it is given. Errors name types and positions; they never
//! quote a value of an answer.

use std::borrow::Cow;
use std::fmt;

use jmespath::ast::Ast;
use jmespath::{Context, DEFAULT_RUNTIME, Rcvar};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// Longest expression, in bytes; the longest one in our recipes has about 100. The interpreter goes a call deeper for
/// each link of a chain: a debug build was seen to overflow a stack of 2 MiB at `.a` 250 times.
const LONGEST: usize = 300;
/// Most brackets, `!` and `&`, which take more of the stack: `[]` overflowed it at 150 times. Nobody can read 20.
const MOST_BRACKETS: usize = 40;

/// A JMESPath expression that was parsed and calls known functions only.
#[derive(Clone)]
pub struct Expression {
    text: String,
    ast: Ast,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// Says where the expression cannot be read, or which function does not exist.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("an expression of more than {LONGEST} bytes"));
        }
        let opens = |byte: &u8| b"([{!&".contains(byte);
        if text.bytes().filter(opens).count() > MOST_BRACKETS {
            return Err(format!(
                "an expression with more than {MOST_BRACKETS} brackets, `!` and `&`"
            ));
        }
        let ast = jmespath::parse(text).map_err(|error| {
            format!(
                "`{text}` is no JMESPath expression: {} at column {}; see https://jmespath.org",
                error.reason,
                error.column + 1
            )
        })?;
        if let Some(name) = unknown_function(&ast) {
            return Err(format!(
                "`{text}` calls `{name}`, which JMESPath does not have"
            ));
        }
        Ok(Self {
            text: text.to_owned(),
            ast,
        })
    }

    /// The value itself.
    pub(crate) fn identity() -> Self {
        Self {
            text: "@".to_owned(),
            ast: Ast::Identity { offset: 0 },
        }
    }

    /// What it gives for this value. What is not there is null.
    ///
    /// # Errors
    ///
    /// Says, without a value, why it does not fit this one.
    pub(crate) fn of(&self, value: &Rcvar) -> Result<Rcvar, String> {
        let mut context = Context::new(&self.text, &DEFAULT_RUNTIME);
        jmespath::interpret(value, &self.ast, &mut context)
            .map_err(|error| format!("`{}` fails: {}", self.text, error.reason))
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Expression {
    fn schema_name() -> Cow<'static, str> {
        "Expression".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "description": "A JMESPath expression (https://jmespath.org)." })
    }
}

/// A function that nobody registered; the parser takes any name.
fn unknown_function(ast: &Ast) -> Option<&str> {
    match ast {
        Ast::Function { name, args, .. } => {
            if DEFAULT_RUNTIME.get_function(name).is_none() {
                return Some(name);
            }
            args.iter().find_map(unknown_function)
        }
        Ast::MultiList { elements, .. } => elements.iter().find_map(unknown_function),
        Ast::MultiHash { elements, .. } => elements
            .iter()
            .find_map(|pair| unknown_function(&pair.value)),
        Ast::Comparison { lhs, rhs, .. }
        | Ast::Projection { lhs, rhs, .. }
        | Ast::And { lhs, rhs, .. }
        | Ast::Or { lhs, rhs, .. }
        | Ast::Subexpr { lhs, rhs, .. } => unknown_function(lhs).or_else(|| unknown_function(rhs)),
        Ast::Condition {
            predicate, then, ..
        } => unknown_function(predicate).or_else(|| unknown_function(then)),
        Ast::Expref { ast: node, .. }
        | Ast::Flatten { node, .. }
        | Ast::Not { node, .. }
        | Ast::ObjectValues { node, .. } => unknown_function(node),
        Ast::Identity { .. }
        | Ast::Field { .. }
        | Ast::Index { .. }
        | Ast::Literal { .. }
        | Ast::Slice { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::tests::value;

    #[test]
    fn a_mistake_is_told_with_its_place() {
        for (text, words) in [
            ("jobs[", "no JMESPath expression"),
            ("", "no JMESPath expression"),
            ("items(@)", "calls `items`"),
            ("a[?b == to_list(c)].d", "calls `to_list`"),
            ("{x: map(&nope(@), y)}", "calls `nope`"),
        ] {
            let message = Expression::parse(text).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn a_failure_quotes_nothing_of_the_answer() {
        let expression = Expression::parse("join(',', secret)").unwrap();
        let message = expression
            .of(&value(&serde_json::json!({ "secret": "never-print-me" })))
            .unwrap_err();
        assert!(
            message.contains("expects") && !message.contains("never-print-me"),
            "{message}"
        );
    }

    /// Reads it on a stack as small as a worker's, and applies it.
    fn survives(text: String) -> bool {
        let read = move || {
            let read = Expression::parse(&text);
            let _ = read
                .as_ref()
                .map(|found| found.of(&value(&serde_json::json!({}))));
            read.is_ok()
        };
        let thread = std::thread::Builder::new().stack_size(2 << 20);
        thread.spawn(read).unwrap().join().expect("no overflow")
    }

    #[test]
    fn no_expression_that_is_read_overflows_a_stack() {
        for (open, close) in [
            ("(", ")"),
            ("[", "]"),
            ("!", ""),
            ("a[?", "]"),
            ("{a:", "}"),
            ("type(", ")"),
        ] {
            let deep = |levels| format!("{}a{}", open.repeat(levels), close.repeat(levels));
            let levels = MOST_BRACKETS / open.matches(['(', '[', '{', '!', '&']).count();
            assert!(survives(deep(levels)) || open == "&", "{open}");
            assert!(!survives(deep(levels + 1)), "{open}");
        }
        for link in [".a", "|a", "||a", "[0]", "[]", "[*]", "==a"] {
            let most = if link.contains('[') {
                MOST_BRACKETS
            } else {
                LONGEST
            };
            let levels = ((LONGEST - 1) / link.len()).min(most);
            assert!(survives(format!("a{}", link.repeat(levels))), "{link}");
        }
    }
}
