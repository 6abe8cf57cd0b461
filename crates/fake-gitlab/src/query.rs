//! As much of the GraphQL language as one query needs: fields, aliases, arguments, variables.
//!
//! No fragments, directives, mutations or introspection: they are refused, not ignored.

use serde_json::{Map, Value};

/// One selected field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    /// The key in the answer: the alias, or the name.
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) arguments: Map<String, Value>,
    pub(crate) fields: Vec<Field>,
}

impl Field {
    /// A whole number given as an argument.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.arguments.get(name).and_then(Value::as_u64)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.arguments.get(name).and_then(Value::as_str)
    }

    /// A list of words; one word stands for a list of one, as the language says.
    pub(crate) fn words(&self, name: &str) -> Option<Vec<String>> {
        match self.arguments.get(name)? {
            Value::String(word) => Some(vec![word.clone()]),
            Value::Array(words) => Some(
                words
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
            ),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
        }
    }
}

/// Reads one query. The error is a message for the `errors` of the answer.
pub(crate) fn parse(text: &str, variables: &Map<String, Value>) -> Result<Vec<Field>, String> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        place: 0,
        variables,
        declared: Vec::new(),
    };
    if parser.take("query") {
        if parser.peek().is_some_and(is_name) {
            parser.place += 1;
        }
        if parser.take("(") {
            parser.declarations()?;
        }
    } else if parser.peek() != Some("{") {
        return Err(format!(
            "Parse error on {:?}",
            parser.peek().unwrap_or("end of file")
        ));
    }
    let fields = parser.selection(0)?;
    match parser.peek() {
        None => Ok(fields),
        Some(extra) => Err(format!("Parse error on {extra:?}")),
    }
}

struct Parser<'a> {
    tokens: Vec<String>,
    place: usize,
    variables: &'a Map<String, Value>,
    declared: Vec<String>,
}

/// Nesting no query of ours comes near; it keeps a hostile one off the stack.
const DEEPEST: usize = 16;

impl Parser<'_> {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.place).map(String::as_str)
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.peek() == Some(token);
        self.place += usize::from(found);
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn unexpected(&self) -> String {
        format!("Parse error on {:?}", self.peek().unwrap_or("end of file"))
    }

    fn name(&mut self) -> Result<String, String> {
        let name = self
            .peek()
            .filter(|token| is_name(token))
            .map(str::to_owned);
        let name = name.ok_or_else(|| self.unexpected())?;
        self.place += 1;
        Ok(name)
    }

    fn declarations(&mut self) -> Result<(), String> {
        while !self.take(")") {
            self.expect("$")?;
            let name = self.name()?;
            self.declared.push(name);
            self.expect(":")?;
            // the type and a default: their words are skipped up to the next variable
            while !matches!(self.peek(), Some("$" | ")") | None) {
                self.place += 1;
            }
        }
        Ok(())
    }

    fn selection(&mut self, depth: usize) -> Result<Vec<Field>, String> {
        if depth > DEEPEST {
            return Err("Query has too much depth".to_owned());
        }
        self.expect("{")?;
        let mut fields = Vec::new();
        while !self.take("}") {
            let first = self.name()?;
            let (key, name) = if self.take(":") {
                (first, self.name()?)
            } else {
                (first.clone(), first)
            };
            let mut arguments = Map::new();
            if self.take("(") {
                while !self.take(")") {
                    let argument = self.name()?;
                    self.expect(":")?;
                    let value = self.value(0)?;
                    arguments.insert(argument, value);
                }
            }
            let inner = self.peek() == Some("{");
            let fields_inside = if inner {
                self.selection(depth + 1)?
            } else {
                Vec::new()
            };
            fields.push(Field {
                key,
                name,
                arguments,
                fields: fields_inside,
            });
        }
        if fields.is_empty() {
            Err(self.unexpected())
        } else {
            Ok(fields)
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err("Query has too much depth".to_owned());
        }
        if self.take("$") {
            let name = self.name()?;
            if !self.declared.contains(&name) {
                return Err(format!("Variable ${name} is used but not declared"));
            }
            return Ok(self.variables.get(&name).cloned().unwrap_or(Value::Null));
        }
        if self.take("[") {
            let mut values = Vec::new();
            while !self.take("]") {
                values.push(self.value(depth + 1)?);
            }
            return Ok(Value::Array(values));
        }
        let token = self.peek().ok_or_else(|| self.unexpected())?.to_owned();
        self.place += 1;
        match token.as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            "null" => Ok(Value::Null),
            word if is_name(word) => Ok(Value::String(word.to_owned())),
            other => serde_json::from_str(other).map_err(|_| format!("Parse error on {other:?}")),
        }
    }
}

fn is_name(token: &str) -> bool {
    token
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && token
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit())
}

/// Words, numbers, strings and single marks; blanks, commas and comments divide them.
fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '#' => while letters.next_if(|next| *next != '\n').is_some() {},
            '"' => {
                let mut word = String::from('"');
                loop {
                    let next = letters
                        .next()
                        .ok_or("Parse error on an unfinished string")?;
                    word.push(next);
                    match next {
                        '\\' => word.extend(letters.next()),
                        '"' => break,
                        _ => {}
                    }
                }
                tokens.push(word);
            }
            '{' | '}' | '(' | ')' | '[' | ']' | ':' | '$' | '!' | '=' => {
                tokens.push(letter.to_string());
            }
            _ if letter.is_whitespace() || letter == ',' => {}
            _ if letter.is_ascii_alphanumeric() || letter == '_' || letter == '-' => {
                let mut word = String::from(letter);
                while let Some(next) =
                    letters.next_if(|next| next.is_ascii_alphanumeric() || *next == '_')
                {
                    word.push(next);
                }
                tokens.push(word);
            }
            other => return Err(format!("Parse error on {other:?}")),
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(variables: &Value) -> Map<String, Value> {
        variables.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn variables_aliases_and_lists_are_read() {
        let text = r#"query Q($after: String, $tags: [String!]) { a: jobs(statuses: [PENDING], after: $after, first: 2) { nodes { id } } runners(tagList: $tags) { nodes { id } } }"#;
        let fields = parse(text, &with(&json!({ "after": "x", "tags": ["linux"] }))).unwrap();
        assert_eq!(
            (fields[0].key.as_str(), fields[0].name.as_str()),
            ("a", "jobs")
        );
        assert_eq!(
            fields[0].words("statuses"),
            Some(vec!["PENDING".to_owned()])
        );
        assert_eq!(
            (fields[0].text("after"), fields[0].number("first")),
            (Some("x"), Some(2))
        );
        assert_eq!(fields[1].words("tagList"), Some(vec!["linux".to_owned()]));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "",
            "mutation { x }",
            "{ ...f }",
            "{ a(b: $c) { d } }",
            "{ a",
            "{ a } }",
            "{}",
        ] {
            assert!(parse(text, &Map::new()).is_err(), "{text}");
        }
        let deep = "{ a ".repeat(100) + &"}".repeat(100);
        assert!(parse(&deep, &Map::new()).is_err());
    }
}
