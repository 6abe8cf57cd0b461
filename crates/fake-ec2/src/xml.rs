//! The few lines of XML writing that EC2 answers need.
//!
//! Why not a crate: an answer is a tree of elements with text, one namespace and no attributes. What
//! can go wrong is escaping, and that is one function here with a test. Reading XML is not needed.

/// The namespace of every answer of this API version.
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// One element: a name and either text or children.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    name: &'static str,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Text(String),
    Children(Vec<Node>),
}

/// An element with text.
pub(crate) fn text(name: &'static str, value: impl Into<String>) -> Node {
    Node {
        name,
        body: Body::Text(value.into()),
    }
}

/// An element with children.
pub(crate) fn node(name: &'static str, children: Vec<Node>) -> Node {
    Node {
        name,
        body: Body::Children(children),
    }
}

/// A list in EC2's way: each member is an element called `item`.
pub(crate) fn list(name: &'static str, items: impl IntoIterator<Item = Vec<Node>>) -> Node {
    node(
        name,
        items
            .into_iter()
            .map(|children| node("item", children))
            .collect(),
    )
}

/// A whole document whose root is `<{action}Response>` in EC2's namespace.
pub(crate) fn answer(action: &str, request_id: &str, children: &[Node]) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response xmlns=\"{NAMESPACE}\">"
    );
    write(&mut out, &text("requestId", request_id));
    children.iter().for_each(|child| write(&mut out, child));
    out.push_str(&format!("</{action}Response>"));
    out
}

/// A whole document without a namespace, as errors are sent.
pub(crate) fn bare(root: &Node) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    write(&mut out, root);
    out
}

fn write(out: &mut String, node: &Node) {
    out.push_str(&format!("<{}>", node.name));
    match &node.body {
        Body::Text(value) => escape(out, value),
        Body::Children(children) => children.iter().for_each(|child| write(out, child)),
    }
    out.push_str(&format!("</{}>", node.name));
}

/// Escapes markup; drops what XML 1.0 cannot hold even as a reference (most control characters).
fn escape(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_value_stays_a_value() {
        let document = bare(&node("a", vec![text("b", "x < y & \"z\"\u{1}\r")]));
        assert!(
            document.ends_with("<a><b>x &lt; y &amp; &quot;z&quot;&#13;</b></a>"),
            "{document}"
        );
    }

    #[test]
    fn an_answer_has_the_namespace_and_its_request_id() {
        let document = answer("CreateTags", "r-1", &[text("return", "true")]);
        assert!(
            document.contains(
                "<CreateTagsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">"
            )
        );
        assert!(document.contains("<requestId>r-1</requestId><return>true</return>"));
    }
}
