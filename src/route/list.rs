//! One name for several models, and the order in which a request tries them.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::settings::{Alias, Strategy};

/// An alias or a combo.
#[derive(Debug)]
pub(super) struct List {
    pub(super) name: String,
    models: Vec<String>,
    weights: Vec<u32>,
    strategy: Strategy,
    /// Requests so far.
    count: AtomicUsize,
    /// Where the dice begin.
    seed: RandomState,
}

impl List {
    /// A list. `cost` says what a model costs, for those that are ordered by it; `None` if nobody knows.
    pub(super) fn new(alias: &Alias, cost: impl Fn(&str) -> Option<u64>) -> Self {
        let mut models = alias.models.clone();
        if alias.strategy == Strategy::CostOptimal {
            // Prices change with the configuration only: the order is made once, and equals keep theirs.
            models.sort_by_cached_key(|model| cost(model).unwrap_or(u64::MAX));
        }
        Self {
            name: alias.name.clone(),
            models,
            weights: alias.weights.clone(),
            strategy: alias.strategy,
            count: AtomicUsize::new(0),
            seed: RandomState::new(),
        }
    }

    /// Calls `each` with every model in the order for one more request.
    pub(super) fn ordered(&self, each: impl FnMut(&String)) {
        let models = &self.models;
        match self.strategy {
            Strategy::Priority | Strategy::CostOptimal => models.iter().for_each(each),
            Strategy::RoundRobin => {
                let first = self.count.fetch_add(1, Ordering::Relaxed) % models.len().max(1);
                models.iter().cycle().skip(first).take(models.len()).for_each(each);
            }
            Strategy::Random => {
                let throw = self.count.fetch_add(1, Ordering::Relaxed);
                let mut order: Vec<usize> = (0..models.len()).collect();
                order.sort_by(|a, b| self.wait(throw, *a).total_cmp(&self.wait(throw, *b)));
                order.into_iter().filter_map(|at| models.get(at)).for_each(each);
            }
        }
    }

    /// How long a model lets the others go first: exponentially distributed, shorter by its weight. The first one of an
    /// order made by this is each model with a chance in proportion to its weight (Efraimidis and Spirakis).
    fn wait(&self, throw: usize, at: usize) -> f64 {
        let weight = f64::from(self.weights.get(at).copied().unwrap_or(1).max(1));
        // 53 bits, as many as a float holds; never zero.
        let uniform = ((self.seed.hash_one((throw, at)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -uniform.ln() / weight
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::settings::Source;

    fn list(strategy: Strategy, weights: &[u32]) -> List {
        let models = ["a", "b", "c"].map(str::to_owned).to_vec();
        let alias = Alias::new("l", models, String::new(), Source::Store);
        let cost = |model: &str| [("b", 1), ("c", 1)].iter().find(|(name, _)| *name == model).map(|(_, cost)| *cost);
        List::new(&Alias { strategy, weights: weights.to_vec(), ..alias }, cost)
    }

    fn next(list: &List) -> String {
        let mut order = String::new();
        list.ordered(|model| order.push_str(model));
        order
    }

    #[test]
    fn each_strategy_orders_in_its_way() {
        let priority = list(Strategy::Priority, &[]);
        assert_eq!([next(&priority), next(&priority)], ["abc", "abc"]);
        assert_eq!(next(&list(Strategy::CostOptimal, &[])), "bca");
        let robin = list(Strategy::RoundRobin, &[]);
        assert_eq!([next(&robin), next(&robin), next(&robin), next(&robin)], ["abc", "bca", "cab", "abc"]);
    }

    #[test]
    fn a_shuffle_keeps_all_and_prefers_weight() {
        let random = list(Strategy::Random, &[8, 1, 1]);
        let mut first: HashMap<char, u32> = HashMap::new();
        for _ in 0..2_000 {
            let order = next(&random);
            let mut sorted: Vec<_> = order.chars().collect();
            sorted.sort_unstable();
            assert_eq!(sorted, ['a', 'b', 'c']);
            *first.entry(order.chars().next().unwrap_or_default()).or_default() += 1;
        }
        // Expected 1,600, 200 and 200; ten standard deviations are 179 and 134.
        assert!((1_421..1_779).contains(&first[&'a']), "{first:?}");
        assert!((66..334).contains(&first[&'b']) && (66..334).contains(&first[&'c']), "{first:?}");
    }
}
