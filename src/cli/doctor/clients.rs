//! Where clients on this machine are sent.

use clap::ValueEnum as _;

use super::{Finding, Grade};
use crate::{
    clients::{self, Target, Tool},
    http::Router,
    place,
};

/// All that is found.
pub(super) fn look(router: &Router) -> Vec<Finding> {
    let graded = |what: &'static str, target: &Target| {
        let (grade, where_to) = match target.leads_to(router) {
            true => (Grade::Ok, "this router"),
            false => (Grade::Warn, target.address.as_str()),
        };
        Finding::new(grade, what, format!("{} leads to {where_to}", target.place))
    };
    let mut findings: Vec<_> = clients::variables().iter().map(|target| graded("variable", target)).collect();
    for tool in Tool::value_variants() {
        match clients::of(*tool) {
            Some(target) => findings.push(graded(tool.program(), &target)),
            None if place::program(tool.program()).is_some() => {
                let name = tool.program();
                let detail = format!("it uses its vendor; try `flow-cli launch {name}`");
                findings.push(Finding::new(Grade::Note, name, detail));
            }
            None => {}
        }
    }
    findings
}
