//! Whether a set of labels satisfies a label expression, read while it is evaluated.
//!
//! Written apart from the product's own matcher on purpose: a mistake in one of them shows as a difference. Text that does
//! not parse is one label, as in `Jenkins.getLabel`.

/// Whether the labels satisfy the expression.
pub(crate) fn satisfies(expression: &str, has: &dyn Fn(&str) -> bool) -> bool {
    let mut reader = Reader {
        rest: expression,
        has,
    };
    match reader.iff() {
        Some(value) if reader.rest.trim_start().is_empty() => value,
        _ => has(expression.trim()),
    }
}

struct Reader<'a> {
    rest: &'a str,
    has: &'a dyn Fn(&str) -> bool,
}

impl Reader<'_> {
    fn take(&mut self, word: &str) -> bool {
        let rest = self.rest.trim_start_matches([' ', '\t']);
        let after = rest.strip_prefix(word);
        self.rest = after.unwrap_or(rest);
        after.is_some()
    }

    fn iff(&mut self) -> Option<bool> {
        let mut value = self.implies()?;
        while self.take("<->") {
            value = value == self.implies()?;
        }
        Some(value)
    }

    fn implies(&mut self) -> Option<bool> {
        let left = self.or()?;
        if self.take("->") {
            let right = self.or()?;
            return Some(!left || right);
        }
        Some(left)
    }

    fn or(&mut self) -> Option<bool> {
        let mut value = self.and()?;
        while self.take("||") {
            value |= self.and()?;
        }
        Some(value)
    }

    fn and(&mut self) -> Option<bool> {
        let mut value = self.not()?;
        while self.take("&&") {
            value &= self.not()?;
        }
        Some(value)
    }

    fn not(&mut self) -> Option<bool> {
        if self.take("!") {
            return self.primary().map(|value| !value);
        }
        self.primary()
    }

    fn primary(&mut self) -> Option<bool> {
        if self.take("(") {
            let value = self.iff()?;
            return self.take(")").then_some(value);
        }
        if self.take("\"") {
            let (word, rest) = self.rest.split_once('"')?;
            self.rest = rest;
            return Some((self.has)(word));
        }
        let end = self.rest.char_indices().find(|(at, letter)| {
            "&|!<>() \t\"'".contains(*letter) || self.rest[*at..].starts_with("->")
        });
        let (word, rest) = self
            .rest
            .split_at(end.map_or(self.rest.len(), |(at, _)| at));
        if word.is_empty() {
            return None;
        }
        self.rest = rest;
        Some((self.has)(word))
    }
}
