//! The `tree=` parameter: exactly the fields that were asked for, so that a plugin which forgets one does not find it.

use std::collections::{BTreeMap, BTreeSet};

use fake_server::shape::Shapes;
use serde_json::Value;

/// What Jenkins exports, restated from its sources: class by class, in the manner of [`fake_server::shape`].
pub const EXPORTED: &str = include_str!("../exported.json");

/// The fields of a `tree=` that no class there exports, with the way to them. The real server leaves them out of its answer
/// without a word, so a plugin that asks for one learns nothing and does not know it.
///
/// `class` is that of the whole answer, such as `hudson.model.Queue`.
///
/// # Errors
/// If the text is no tree.
pub fn unexported(tree: &str, class: &str) -> Result<Vec<String>, String> {
    let tree = Tree::parse(tree).ok_or_else(|| format!("not a tree: {tree}"))?;
    let shapes = Shapes::parse(EXPORTED).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    tree.compare(&shapes, &BTreeSet::from([class]), class, &mut found);
    Ok(found)
}

/// What one level asks for: names, each with its own level and the length of a slice `{0,n}`.
#[derive(Debug, Default)]
pub(crate) struct Tree(BTreeMap<String, (Tree, Option<usize>)>);

impl Tree {
    /// Reads `a[b,c[d]]{0,50},e`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let tree = Self::level(&mut rest)?;
        rest.is_empty().then_some(tree)
    }

    fn level(rest: &mut &str) -> Option<Self> {
        let mut tree = Tree::default();
        loop {
            let end = rest.find(['[', ']', ',', '{']).unwrap_or(rest.len());
            let name = rest[..end].trim().to_owned();
            *rest = &rest[end..];
            let mut child = Tree::default();
            if let Some(after) = rest.strip_prefix('[') {
                *rest = after;
                child = Self::level(rest)?;
                *rest = rest.strip_prefix(']')?;
            }
            let mut most = None;
            if let Some(after) = rest.strip_prefix("{0,") {
                let (number, after) = after.split_once('}')?;
                most = number.parse().ok();
                *rest = after;
            }
            tree.0.insert(name, (child, most));
            match rest.strip_prefix(',') {
                Some(after) => *rest = after,
                None => return Some(tree),
            }
        }
    }

    fn compare(
        &self,
        shapes: &Shapes,
        classes: &BTreeSet<&str>,
        way: &str,
        found: &mut Vec<String>,
    ) {
        for (field, (inside, _)) in &self.0 {
            let kinds = classes
                .iter()
                .flat_map(|class| shapes.kinds_of(class, field));
            let kinds: BTreeSet<&str> = kinds
                .filter_map(|kind| kind.get(0).unwrap_or(kind).as_str())
                .collect();
            let way = format!("{way}.{field}");
            if kinds.is_empty() {
                found.push(way);
            } else {
                inside.compare(shapes, &kinds, &way, found);
            }
        }
    }

    /// Leaves what was asked for. `_class` is always there, as in the real one.
    pub(crate) fn prune(&self, value: &mut Value) {
        match value {
            Value::Array(rows) => rows.iter_mut().for_each(|row| self.prune(row)),
            Value::Object(fields) => {
                fields.retain(|name, _| name == "_class" || self.0.contains_key(name));
                for (name, (child, most)) in &self.0 {
                    let Some(field) = fields.get_mut(name) else {
                        continue;
                    };
                    if let (Value::Array(rows), Some(most)) = (&mut *field, most) {
                        rows.truncate(*most);
                    }
                    if field.is_array() || field.is_object() {
                        child.prune(field);
                    }
                }
            }
            _ => {}
        }
    }
}
