//! The words of `why`, chosen as the real queue chooses them.

use crate::label::satisfies;
use crate::world::{Item, Jenkins, Node, Stage, matches};

impl Jenkins {
    /// Why an item waits.
    pub(crate) fn why(&self, item: &Item) -> String {
        let words = match &item.stage {
            Stage::Waiting(_) => "In the quiet period. Expires in 4.6 sec".to_owned(),
            Stage::Blocked(words) => words.clone(),
            Stage::Buildable => self.why_buildable(item),
        };
        if self.german {
            // the quotes differ too
            return words
                .replace(
                    "Waiting for next available executor on",
                    "Warte auf nächsten freien Build-Prozessor auf",
                )
                .replace(
                    "There are no nodes with the label",
                    "Es gibt keine Knoten mit dem Label",
                )
                .replace(['‘', '’'], "\"");
        }
        words
    }

    fn why_buildable(&self, item: &Item) -> String {
        if self.quieting {
            return "Jenkins is about to shut down".to_owned();
        }
        let nodes: Vec<(&String, &Node)> =
            self.nodes.iter().filter(|(_, node)| !node.ghost).collect();
        let Some(label) = item.task.label().filter(|_| !nodes.is_empty()) else {
            // without any node the label is not even looked at
            return "Waiting for next available executor".to_owned();
        };
        let fitting: Vec<(&String, &Node)> = nodes
            .into_iter()
            .filter(|(name, node)| matches(name, node, label))
            .collect();
        // the controller has no executors here, and matches every negation all the same
        let controller = satisfies(label, &|word| word == "built-in");
        let shown = label.trim_matches('"');
        let on = "Waiting for next available executor on";
        match fitting.as_slice() {
            [] if controller => format!("{on} ‘Built-In Node’"),
            [] => format!("There are no nodes with the label ‘{shown}’"),
            [(name, node)] if !controller && node.online() => format!("{on} ‘{name}’"),
            [(name, _)] if !controller => format!("‘{name}’ is offline"),
            fitting => {
                let refusing = |(name, node): &&(&String, &Node)| {
                    node.connected && node.temporarily_offline && node.idle() && !name.is_empty()
                };
                let online = controller || fitting.iter().any(|(_, node)| node.online());
                let refusals: Vec<String> = fitting
                    .iter()
                    .filter(refusing)
                    .map(|(name, _)| format!("‘{name}’ is offline"))
                    .collect();
                match (online, refusals.is_empty()) {
                    (false, _) => format!("All nodes of label ‘{shown}’ are offline"),
                    (true, false) => refusals.join("; "),
                    (true, true) => format!("{on} ‘{shown}’"),
                }
            }
        }
    }
}
