//! What the words of `why` tell about an item's label.
//!
//! Jenkins does not export the label of a pipeline step, so its words are all there is; they are read in English, which is
//! asked for. A text that is not understood is said to be so, never guessed. Texts: `Messages.properties` of Jenkins 2.578,
//! and answers recorded from 2.263.4 and 2.446.

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// The label, in so many words.
    Label(String),
    /// A name that is a node's if there is one, else the label.
    NodeOrLabel(String),
    /// Nodes that would do, and nothing of the label.
    Nodes(Vec<String>),
    /// A node refuses it *because* it asks for no label.
    NoLabel,
    /// Waits, and no label is told: it has none, or no node is registered.
    Untold,
    /// The controller is about to shut down.
    ShuttingDown,
    /// Something else, or another language.
    Unread,
}

/// Reads the words of one item.
pub(crate) fn read(words: &str) -> Why {
    let words = words.trim();
    match words {
        "Waiting for next available executor" => return Why::Untold,
        "Jenkins is about to shut down" => return Why::ShuttingDown,
        _ => {}
    }
    // the whole text first: a label may hold what looks like a join
    if let Some(label) = between(words, "There are no nodes with the label ‘", "’")
        .or_else(|| between(words, "All nodes of label ‘", "’ are offline"))
    {
        return Why::Label(label.to_owned());
    }
    if let Some(name) = between(words, "Waiting for next available executor on ‘", "’") {
        return Why::NodeOrLabel(name.to_owned());
    }
    joined(words)
}

/// Several reasons, one for each node that would do.
fn joined(words: &str) -> Why {
    let mut nodes = Vec::new();
    for part in words.split("; ") {
        if let Some((_, label)) =
            between(part, "‘", "’").and_then(|inside| inside.split_once("’ doesn’t have label ‘"))
        {
            return Why::Label(label.to_owned());
        }
        if part.ends_with("is reserved for jobs with matching label expression") {
            return Why::NoLabel;
        }
        let node = ["’ is offline", "’ is not accepting tasks"]
            .iter()
            .find_map(|end| between(part, "‘", end))
            .or_else(|| {
                between(part, "‘", "’")
                    .and_then(|inside| inside.split_once("’ lacks permission to run on ‘"))
                    .map(|(_, node)| node)
            });
        match node {
            Some(node) => nodes.push(node.to_owned()),
            // "... and 3 more": nothing is lost, any of the named nodes tells as much
            None if part.starts_with("...") && !nodes.is_empty() => {}
            None => return Why::Unread,
        }
    }
    if nodes.is_empty() {
        return Why::Unread;
    }
    Why::Nodes(nodes)
}

fn between<'a>(words: &'a str, start: &str, end: &str) -> Option<&'a str> {
    words.strip_prefix(start)?.strip_suffix(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_of_jenkins_is_read() {
        let label = |label: &str| Why::Label(label.to_owned());
        let nodes =
            |nodes: &[&str]| Why::Nodes(nodes.iter().map(|node| (*node).to_owned()).collect());
        for (words, read_as) in [
            ("Waiting for next available executor", Why::Untold),
            ("Jenkins is about to shut down", Why::ShuttingDown),
            (
                "There are no nodes with the label ‘vm-linux&&big’",
                label("vm-linux&&big"),
            ),
            ("All nodes of label ‘linux’ are offline", label("linux")),
            ("There are no nodes with the label ‘it’s’", label("it’s")),
            (
                "There are no nodes with the label ‘\"x; y\"&&a’",
                label("\"x; y\"&&a"),
            ),
            (
                "Waiting for next available executor on ‘vm-1’",
                Why::NodeOrLabel("vm-1".to_owned()),
            ),
            ("‘vm-1’ is offline", nodes(&["vm-1"])),
            (
                "‘a’ is offline; ‘b’ is not accepting tasks; ... and 2 more",
                nodes(&["a", "b"]),
            ),
            ("‘bob’ lacks permission to run on ‘a’", nodes(&["a"])),
            ("‘a’ is offline; ‘b’ doesn’t have label ‘gpu’", label("gpu")),
            (
                "‘a’ is reserved for jobs with matching label expression",
                Why::NoLabel,
            ),
            (
                "Warte auf nächsten freien Build-Prozessor auf \"vm-1\"",
                Why::Unread,
            ),
            ("???", Why::Unread),
            ("", Why::Unread),
        ] {
            assert_eq!(read(words), read_as, "{words}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(words in "(‘|’|; |is offline| doesn’t have label |[a-z]){0,12}") {
            read(&words);
        }
    }
}
