//! The form that makes a node, and the file that holds its secret.

use serde_json::json;

use crate::error::Failure;

/// What a node is made of.
pub(crate) struct NewNode<'a> {
    pub(crate) name: &'a str,
    pub(crate) description: &'a str,
    pub(crate) labels: &'a str,
    pub(crate) executors: u32,
    pub(crate) work_dir: &'a str,
}

impl NewNode<'_> {
    /// The fields of `doCreateItem`, as two widely used clients send them; every version takes them. EXCLUSIVE: only jobs
    /// whose label expression matches, so that work without a label never lands on a machine of ours.
    pub(crate) fn form(&self) -> Vec<(&'static str, String)> {
        let json = json!({
            "nodeDescription": self.description,
            "numExecutors": self.executors,
            "remoteFS": self.work_dir,
            "labelString": self.labels,
            "mode": "EXCLUSIVE",
            "retentionStrategy": { "stapler-class": "hudson.slaves.RetentionStrategy$Always" },
            "nodeProperties": { "stapler-class-bag": "true" },
            "launcher": { "stapler-class": "hudson.slaves.JNLPLauncher", "webSocket": true },
        });
        vec![
            ("name", self.name.to_owned()),
            ("type", "hudson.slaves.DumbSlave".to_owned()),
            ("json", json.to_string()),
        ]
    }
}

/// The secret out of `jenkins-agent.jnlp`: the first argument, if the second is the node's name. Not a general reader of
/// XML, and it need not be: Jenkins writes the two without attributes, and a file of another shape is refused.
pub(crate) fn secret(file: &str, name: &str) -> Result<String, Failure> {
    let mut arguments = file
        .split("<argument>")
        .skip(1)
        .filter_map(|part| part.split_once("</argument>").map(|(word, _)| word.trim()));
    let secret = arguments.next().filter(|secret| is_secret(secret));
    match (secret, arguments.next()) {
        (Some(secret), Some(found)) if found == name => Ok(secret.to_owned()),
        _ => Err(Failure::bad_answer(
            "the agent file of the node does not hold a secret and its name",
        )),
    }
}

fn is_secret(text: &str) -> bool {
    (32..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_read_from_the_file_of_this_node_only() {
        let key = "0b8f8f7a6f2e4c1d9d7c5b3a19081726";
        let file = format!(
            "<jnlp>\n <application-desc>\n <argument>{key}</argument>\n <argument>vm-1</argument>\n\
             <argument>-webSocket</argument></application-desc></jnlp>"
        );
        assert_eq!(secret(&file, "vm-1").unwrap(), key);
        assert!(secret(&file, "vm-2").is_err());
        for bad in [
            "",
            "<html>",
            "<argument>';rm -rf</argument><argument>vm-1</argument>",
        ] {
            let error = secret(bad, "vm-1").unwrap_err();
            assert!(!error.message.contains("rm"), "{}", error.message);
        }
    }
}
