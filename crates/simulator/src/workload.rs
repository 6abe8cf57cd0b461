//! Workloads made up from a seed: the shapes of pools that one recorded trace does not show.
//!
//! None of them is fitted to anything; the numbers are round ones that an operations engineer would recognise. A policy
//! that is good on one shape only was tuned, not designed.

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::Ms;
use crate::trace::{Job, Trace};

const HOUR: f64 = 3600.0;

/// What the work of a pool looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// 200 jobs an hour in office hours, a tenth of that else: there is nearly always a machine that just became free.
    Dense,
    /// 3 jobs an hour in office hours, one in ten hours else: nearly every job comes to an empty pool.
    Sparse,
    /// 8 pipelines an hour in office hours: one build, then 3 to 8 tests at once, then one deployment.
    Chained,
    /// 2 batches an hour in office hours of 15 jobs on average, and 150 jobs each night at 02:00.
    Bursty,
    /// 30 jobs an hour, day and night.
    Steady,
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 5] = [
        Shape::Dense,
        Shape::Sparse,
        Shape::Chained,
        Shape::Bursty,
        Shape::Steady,
    ];

    /// Its name, which is also the name of its pool.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Dense => "dense",
            Shape::Sparse => "sparse",
            Shape::Chained => "chained",
            Shape::Bursty => "bursty",
            Shape::Steady => "steady",
        }
    }

    /// Jobs of one pool over so many days. The same seed makes the same jobs.
    pub fn make(self, days: u32, seed: u64) -> Trace {
        let mut maker = Maker {
            rng: Rng::with_seed(seed),
            jobs: Vec::new(),
        };
        let until = f64::from(days) * 24.0 * HOUR;
        match self {
            Shape::Dense => maker.singles(until, |at| if is_office(at) { 200.0 } else { 20.0 }),
            Shape::Sparse => maker.singles(until, |at| if is_office(at) { 3.0 } else { 0.1 }),
            Shape::Steady => maker.singles(until, |_| 30.0),
            Shape::Chained => {
                for at in maker.arrivals(until, |at| if is_office(at) { 8.0 } else { 0.5 }) {
                    maker.pipeline(at);
                }
            }
            Shape::Bursty => {
                for at in maker.arrivals(until, |at| if is_office(at) { 2.0 } else { 0.1 }) {
                    // geometric with a mean of 15
                    let size = 1 + (maker.exponential(15.0) as usize).min(200);
                    maker.batch(at, size);
                }
                for day in 0..days {
                    maker.batch(f64::from(day) * 24.0 * HOUR + 2.0 * HOUR, 150);
                }
            }
        }
        maker.finish(self.name())
    }
}

/// Monday to Friday, 08:00 to 18:00.
fn is_office(at: f64) -> bool {
    let hours = at / HOUR;
    let (day, hour) = ((hours / 24.0) as u64 % 7, hours % 24.0);
    day < 5 && (8.0..18.0).contains(&hour)
}

struct Made {
    submitted: u64,
    duration: u64,
    parents: Vec<usize>,
}

struct Maker {
    rng: Rng,
    jobs: Vec<Made>,
}

impl Maker {
    fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.rng.f64()).ln() * mean
    }

    /// Log-normal with a median of four minutes: one job in six takes longer than eleven, one in forty than half an hour.
    fn duration(&mut self) -> u64 {
        // Box and Muller
        let (a, b) = (1.0 - self.rng.f64(), self.rng.f64());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        ((240.0 * normal.exp()) as u64).clamp(5, 4 * 3600)
    }

    /// A Poisson process whose rate per hour changes with time, by thinning.
    fn arrivals(&mut self, until: f64, rate: fn(f64) -> f64) -> Vec<f64> {
        // the rates above are greatest at noon of a Monday
        let most = rate(12.0 * HOUR);
        let mut at = 0.0;
        let mut found = Vec::new();
        loop {
            at += self.exponential(HOUR / most);
            if at >= until {
                return found;
            }
            if self.rng.f64() * most < rate(at) {
                found.push(at);
            }
        }
    }

    fn add(&mut self, at: f64, parents: Vec<usize>) -> usize {
        let duration = self.duration();
        self.jobs.push(Made {
            submitted: at as u64,
            duration,
            parents,
        });
        self.jobs.len() - 1
    }

    fn singles(&mut self, until: f64, rate: fn(f64) -> f64) {
        for at in self.arrivals(until, rate) {
            self.add(at, Vec::new());
        }
    }

    /// Jobs of one push, within a few seconds.
    fn batch(&mut self, at: f64, size: usize) {
        for _ in 0..size {
            let later = self.exponential(3.0);
            self.add(at + later, Vec::new());
        }
    }

    fn pipeline(&mut self, at: f64) {
        let build = self.add(at, Vec::new());
        let tests: Vec<usize> = (0..self.rng.usize(3..=8))
            .map(|_| self.add(at, vec![build]))
            .collect();
        self.add(at, tests);
    }

    fn finish(self, pool: &str) -> Trace {
        let mut order: Vec<usize> = (0..self.jobs.len()).collect();
        order.sort_by_key(|at| self.jobs[*at].submitted);
        let mut place = vec![0; order.len()];
        for (new, old) in (0u32..).zip(&order) {
            place[*old] = new;
        }
        let jobs = order.iter().map(|old| {
            let made = &self.jobs[*old];
            Job {
                submitted: made.submitted as Ms * 1000,
                duration: made.duration as Ms * 1000,
                pool: 0,
                parents: made.parents.iter().map(|parent| place[*parent]).collect(),
            }
        });
        Trace {
            jobs: jobs.collect(),
            pools: vec![pool.to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_jobs_and_another_one_others() {
        for shape in Shape::ALL {
            assert_eq!(shape.make(7, 3), shape.make(7, 3));
            assert_ne!(shape.make(7, 3), shape.make(7, 4));
        }
    }

    #[test]
    fn the_jobs_are_sorted_and_parents_stand_before_children() {
        for shape in Shape::ALL {
            let trace = shape.make(7, 3);
            assert!(trace.jobs.is_sorted_by_key(|job| job.submitted));
            for (at, job) in trace.jobs.iter().enumerate() {
                assert!(job.parents.iter().all(|parent| (*parent as usize) < at));
            }
        }
    }

    #[test]
    fn the_shapes_have_the_sizes_that_they_promise() {
        let jobs = |shape: Shape| shape.make(28, 1).jobs.len();
        // 20 office days of 10 hours, and 472 other hours
        assert!(
            (580..720).contains(&jobs(Shape::Sparse)),
            "{}",
            jobs(Shape::Sparse)
        );
        assert!(
            (48_000..51_000).contains(&jobs(Shape::Dense)),
            "{}",
            jobs(Shape::Dense)
        );
        assert!(
            (19_500..20_800).contains(&jobs(Shape::Steady)),
            "{}",
            jobs(Shape::Steady)
        );
        assert!(
            (10_000..12_500).contains(&jobs(Shape::Bursty)),
            "{}",
            jobs(Shape::Bursty)
        );
        assert!(
            (11_500..16_000).contains(&jobs(Shape::Chained)),
            "{}",
            jobs(Shape::Chained)
        );
    }
}
