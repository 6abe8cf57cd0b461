//! Which request goes where, and what is refused.

use fake_server::{Fake, Request, Response};
use jiff::Timestamp;
use serde_json::Value;

use crate::answer;
use crate::fault;
use crate::tree::Tree;
use crate::world::{Jenkins, OfflineCause, Rights};

impl Fake for Jenkins {
    fn answer(&mut self, request: &Request, now: Timestamp) -> Response {
        self.handle(request, now)
    }

    fn listens_at(&mut self, base: String) {
        self.base = base;
    }
}

impl Jenkins {
    /// Answers one request. No I/O and no clock: the only thing that can change is `self`.
    pub fn handle(&mut self, request: &Request, now: Timestamp) -> Response {
        self.requests
            .push(format!("{} {}", request.method, request.path));
        let fault = fault::next(&mut self.faults, request);
        if let Some(answer) = fault.as_ref().and_then(fault::FaultKind::instead) {
            return answer;
        }
        if self.starting {
            return answer::html(503, "Jenkins is getting ready to work");
        }
        let mut response = self.route(request, now).unwrap_or_else(|refusal| refusal);
        if response.status == 200 {
            response = response
                .with_header("x-jenkins", self.version)
                .with_header("x-jenkins-session", format!("{:08x}", self.session));
        }
        if let Some(fault) = fault {
            fault.spoil(&mut response);
        }
        response
    }

    fn route(&mut self, request: &Request, now: Timestamp) -> Result<Response, Response> {
        let rights = self.caller(request)?;
        let parts: Vec<String> = request.path.split('/').skip(1).map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let method = request.method.as_str();
        match (method, parts.as_slice()) {
            ("GET", ["api", "json"]) => shown(request, self.show_root(rights)),
            ("GET", ["queue", "api", "json"]) => shown(request, self.show_queue(rights)),
            ("GET", ["computer", "api", "json"]) => shown(request, self.show_computers(rights)),
            ("POST", ["computer", "doCreateItem"]) => self.create(request, rights),
            ("GET", ["computer", name, "api", "json"]) => {
                let node = self.nodes.get(*name).ok_or_else(not_found)?;
                if node.ghost {
                    // seen right after a busy node was deleted
                    return Err(answer::html(500, "Oops! A problem occurred"));
                }
                shown(request, self.show_computer(name, node, rights))
            }
            ("GET", ["computer", name, file]) if *file == self.jnlp() => {
                need(rights.agent_connect, "hudson.model.Computer.Connect")?;
                if !self.nodes.contains_key(*name) {
                    return Err(not_found());
                }
                Ok(self.agent_file(name))
            }
            ("POST", ["computer", name, verb]) => {
                let name = (*name).to_owned();
                self.act(&name, verb, request, rights, now)
            }
            _ => Err(not_found()),
        }
    }

    fn caller(&self, request: &Request) -> Result<Rights, Response> {
        let Some((user, token)) = request.login() else {
            return Err(answer::html(403, "Forbidden"));
        };
        match self.users.get(&user) {
            Some((known, rights)) if *known == token => {
                need(rights.overall_read, "hudson.model.Hudson.Read")?;
                Ok(*rights)
            }
            _ => Err(answer::html(401, "Unauthorized")
                .with_header("www-authenticate", "Basic realm=\"Jenkins\"")),
        }
    }

    fn jnlp(&self) -> &'static str {
        if self.old {
            "slave-agent.jnlp"
        } else {
            "jenkins-agent.jnlp"
        }
    }

    fn agent_file(&self, name: &str) -> Response {
        let secret = self.secret(name);
        let xml = format!(
            "<jnlp><application-desc><argument>{secret}</argument><argument>{name}</argument>\
             <argument>-webSocket</argument><argument>-workDir</argument><argument>/home/ci</argument>\
             </application-desc></jnlp>"
        );
        Response::of(200, "application/x-java-jnlp-file", xml)
    }

    fn create(&mut self, request: &Request, rights: Rights) -> Result<Response, Response> {
        need(rights.agent_create, "hudson.model.Computer.Create")?;
        let name = request.field("name").unwrap_or_default();
        if self.nodes.contains_key(&name) {
            let words = format!("Agent called  {name}  already exists");
            return Err(answer::html(400, "Error").with_header("x-error", words));
        }
        let kind = request.field("type").unwrap_or_default();
        if kind.is_empty() {
            return Err(answer::html(400, "No mode given"));
        }
        if !kind.starts_with("hudson.slaves.DumbSlave") {
            return Err(answer::html(500, "Oops! A problem occurred"));
        }
        let form: Option<Value> = request
            .field("json")
            .and_then(|json| serde_json::from_str(&json).ok());
        let form = form.ok_or_else(|| answer::html(500, "Oops! A problem occurred"))?;
        let text = |key: &str| form[key].as_str().unwrap_or_default().to_owned();
        let labels = text("labelString");
        let labels: Vec<&str> = labels.split_whitespace().collect();
        let slots = form["numExecutors"].as_u64().unwrap_or(1);
        self.add_node(&name, &labels, usize::try_from(slots).unwrap_or(1));
        if let Some(node) = self.nodes.get_mut(&name) {
            node.description = text("nodeDescription");
            node.exclusive = text("mode") == "EXCLUSIVE";
        }
        Ok(answer::found(&format!("{}/computer/", self.base)))
    }

    fn act(
        &mut self,
        name: &str,
        verb: &str,
        request: &Request,
        rights: Rights,
        now: Timestamp,
    ) -> Result<Response, Response> {
        let back = answer::found(&format!("{}/computer/{name}/", self.base));
        let message = request.param("offlineMessage").unwrap_or_default();
        let cause = OfflineCause {
            class: "hudson.slaves.OfflineCause$UserCause",
            message,
            at: now,
        };
        let node = self.nodes.get_mut(name).ok_or_else(not_found)?;
        match verb {
            "changeOfflineCause" => {
                need(rights.agent_disconnect, "hudson.model.Computer.Disconnect")?;
                node.temporarily_offline = true;
                node.cause = Some(cause);
                Ok(back)
            }
            "toggleOffline" => {
                if node.temporarily_offline {
                    need(rights.agent_connect, "hudson.model.Computer.Connect")?;
                    node.temporarily_offline = false;
                    node.cause = None;
                } else {
                    need(rights.agent_disconnect, "hudson.model.Computer.Disconnect")?;
                    node.temporarily_offline = true;
                    node.cause = Some(cause);
                }
                Ok(back)
            }
            "doDelete" => {
                need(rights.agent_delete, "hudson.model.Computer.Delete")?;
                if node.ghost {
                    return Err(answer::html(500, "Oops! A problem occurred"));
                }
                let killed: Vec<u64> = node.executors.iter().flatten().map(|w| w.item).collect();
                if killed.is_empty() {
                    self.nodes.remove(name);
                } else {
                    node.ghost = true;
                    node.connected = false;
                }
                for item in killed {
                    self.end(item, false);
                }
                Ok(answer::found(&format!("{}/computer/", self.base)))
            }
            _ => Err(not_found()),
        }
    }
}

fn shown(request: &Request, mut value: Value) -> Result<Response, Response> {
    if let Some(tree) = request.param("tree") {
        let tree = Tree::parse(&tree).ok_or_else(|| answer::html(400, "Bad tree"))?;
        tree.prune(&mut value);
    }
    Ok(answer::json(&value))
}

fn need(right: bool, name: &str) -> Result<(), Response> {
    if right {
        return Ok(());
    }
    Err(answer::html(403, "Forbidden").with_header("x-required-permission", name))
}

fn not_found() -> Response {
    answer::html(404, "Not Found")
}

fn decode(part: &str) -> String {
    // a plus is a plus in a path, unlike in a query
    let query = format!("part={}", part.replace('+', "%2B"));
    url::form_urlencoded::parse(query.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
