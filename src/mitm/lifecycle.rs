//! In which order the machine is changed, and put back. Pure: what a step does is the [`System`]'s.
//!
//! ```text
//!   up:    Listen ─▶ SelfTest ─▶ Journal ─▶ Hosts ─▶ Effective
//!             └── a step fails: those before it are undone, last one first ──┘
//!   down:  Hosts ─▶ Journal ─▶ Listen
//! ```
//!
//! Names lead here only while somebody listens who has proven that he answers under these names, and nothing is changed that
//! was not written down before. A step that cannot be undone keeps those before it done: a journal that is gone, or a port
//! that nobody listens on, would make of a block that cannot be removed a mess. Only the program's end closes the port all
//! the same; the journal then tells `repair` what is left.

use super::Failure;
use crate::settings::interception::Mode;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Listen and serve.
    Listen,
    /// Ask ourselves under every name, over TLS, trusting our root alone.
    SelfTest,
    /// Write down what will be changed.
    Journal,
    /// Put our block into the hosts file, and flush what remembers old answers.
    Hosts,
    /// See that the system's resolver leads here.
    Effective,
}

impl Step {
    /// The word in logs and documents.
    pub fn name(self) -> &'static str {
        match self {
            Step::Listen => "listen",
            Step::SelfTest => "self_test",
            Step::Journal => "journal",
            Step::Hosts => "hosts",
            Step::Effective => "effective",
        }
    }
}

/// The order where the hosts file leads here.
pub const WITH_HOSTS: &[Step] = &[Step::Listen, Step::SelfTest, Step::Journal, Step::Hosts, Step::Effective];
/// The order where programs are told of a proxy: nothing of the system is changed.
pub const TOLD: &[Step] = &[Step::Listen, Step::SelfTest];
/// The order where programs are told of a service without TLS.
pub const PLAIN: &[Step] = &[Step::Listen];

/// The order of a mode.
pub fn order(mode: &Mode) -> &'static [Step] {
    match mode {
        Mode::Hosts => WITH_HOSTS,
        Mode::Proxy => TOLD,
        Mode::Reverse(_) => PLAIN,
    }
}

/// What the steps are done to.
pub trait System {
    /// Does a step. One that fails has changed nothing.
    ///
    /// # Errors
    /// It could not be done.
    fn perform(&mut self, step: Step) -> Result<(), Failure>;

    /// Undoes a step that was done. Undoing twice is undoing once.
    ///
    /// # Errors
    /// It could not be undone.
    fn undo(&mut self, step: Step) -> Result<(), Failure>;
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Which.
    pub step: Step,
    /// Why.
    pub failure: Failure,
    /// The step that could not be undone afterwards, and why: the system is not as it was.
    pub stuck: Option<(Step, Failure)>,
}

/// What has been done.
#[derive(Debug, Default)]
pub struct Lifecycle {
    done: Vec<Step>,
}

impl Lifecycle {
    /// Does all steps of `order` that are not done, or none.
    ///
    /// # Errors
    /// The step that failed; those before it are undone.
    pub fn up(&mut self, order: &[Step], system: &mut dyn System) -> Result<(), Box<Failed>> {
        for &step in order {
            if self.done.contains(&step) {
                continue;
            }
            if let Err(failure) = system.perform(step) {
                return Err(Box::new(Failed { step, failure, stuck: self.down(system).err() }));
            }
            self.done.push(step);
        }
        Ok(())
    }

    /// Undoes everything that is done, the last first, up to a step that cannot be undone.
    ///
    /// # Errors
    /// That step, and why.
    pub fn down(&mut self, system: &mut dyn System) -> Result<(), (Step, Failure)> {
        while let Some(&step) = self.done.last() {
            system.undo(step).map_err(|failure| (step, failure))?;
            self.done.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A machine that keeps the promises: what is done, and what it would mean for the user.
    #[derive(Default)]
    struct Scripted {
        done: Vec<Step>,
        fails: Option<Step>,
        keeps: Option<Step>,
    }

    impl Scripted {
        /// Names never lead where nobody listens, and no change is without its line in the journal.
        fn check(&self) {
            let has = |step| self.done.contains(&step);
            assert!(!has(Step::Hosts) || (has(Step::Listen) && has(Step::Journal)), "{:?}", self.done);
        }
    }

    impl System for Scripted {
        fn perform(&mut self, step: Step) -> Result<(), Failure> {
            if self.fails == Some(step) {
                return Err(Failure::new("scripted", step.name()));
            }
            self.done.push(step);
            self.check();
            Ok(())
        }

        fn undo(&mut self, step: Step) -> Result<(), Failure> {
            if self.keeps == Some(step) {
                return Err(Failure::new("stuck", step.name()));
            }
            self.done.retain(|done| *done != step);
            self.check();
            Ok(())
        }
    }

    #[test]
    fn up_and_down_leave_nothing() {
        for order in [WITH_HOSTS, TOLD, PLAIN] {
            let (mut machine, mut lifecycle) = (Scripted::default(), Lifecycle::default());
            lifecycle.up(order, &mut machine).unwrap();
            assert_eq!((machine.done.as_slice(), lifecycle.done.as_slice()), (order, order));
            lifecycle.up(order, &mut machine).unwrap();
            assert_eq!(machine.done, order, "what is done is not done again");
            lifecycle.down(&mut machine).unwrap();
            assert!(machine.done.is_empty() && lifecycle.done.is_empty());
            lifecycle.down(&mut machine).unwrap();
        }
    }

    #[test]
    fn a_failure_at_any_step_leaves_nothing() {
        for &step in WITH_HOSTS {
            let mut machine = Scripted { fails: Some(step), ..Scripted::default() };
            let mut lifecycle = Lifecycle::default();
            let failed = lifecycle.up(WITH_HOSTS, &mut machine).unwrap_err();
            assert_eq!((failed.step, failed.stuck), (step, None));
            assert!(machine.done.is_empty() && lifecycle.done.is_empty(), "{step:?}");
            machine.fails = None;
            lifecycle.up(WITH_HOSTS, &mut machine).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_undone_keeps_what_it_stands_on() {
        let mut machine = Scripted { keeps: Some(Step::Hosts), ..Scripted::default() };
        let mut lifecycle = Lifecycle::default();
        lifecycle.up(WITH_HOSTS, &mut machine).unwrap();
        assert_eq!(lifecycle.down(&mut machine).unwrap_err().0, Step::Hosts);
        assert_eq!(machine.done, [Step::Listen, Step::SelfTest, Step::Journal, Step::Hosts]);
        machine.keeps = None;
        lifecycle.down(&mut machine).unwrap();
        assert!(machine.done.is_empty());
        // And on the way up.
        let mut machine = Scripted { fails: Some(Step::Effective), keeps: Some(Step::Hosts), ..Scripted::default() };
        let failed = lifecycle.up(WITH_HOSTS, &mut machine).unwrap_err();
        assert_eq!((failed.step, failed.stuck.unwrap().0), (Step::Effective, Step::Hosts));
        assert!(!lifecycle.done.is_empty());
    }
}
