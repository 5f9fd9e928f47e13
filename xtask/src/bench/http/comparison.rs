//! The same load through several proxies in turns, and what is said about it.

use super::{
    super::{
        figures::{Table, float, median},
        report::{Bar, Bound, Report},
    },
    Http,
    config::Backend,
    contender::{Contender, Field, Setup},
    load::Load,
    measured::Measured,
};
use crate::failure::Failure;

/// One measurement.
pub(super) struct Comparison<'a> {
    pub(super) title: String,
    /// The first one is what the others are compared with.
    pub(super) contenders: &'a [Contender],
    pub(super) backend: Backend,
    pub(super) log: bool,
    pub(super) load: Load,
    pub(super) figures: &'a [Figure],
    pub(super) judgements: Vec<Judgement<'a>>,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    /// Processor time for each answer.
    Processor,
    /// Answers for each second of processor time.
    Answers,
    /// What one answer of a hundred takes longer than.
    P99,
    /// Bytes for each second of processor time.
    Bytes,
}

impl Figure {
    fn of(self, measured: &Measured) -> f64 {
        match self {
            Self::Processor => measured.micros(measured.used.processor),
            Self::Answers => float(measured.answers) / measured.used.processor.as_secs_f64(),
            Self::P99 => measured.p99.as_secs_f64() * 1e6,
            Self::Bytes => float(measured.bytes) / 1e9 / measured.used.processor.as_secs_f64(),
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Processor => "Processor time of the proxy for each answer, µs",
            Self::Answers => "Answers per processor second of the proxy",
            Self::P99 => "p99, µs, from the moment that the request was due",
            Self::Bytes => "GB per processor second of the proxy",
        }
    }

    fn decimals(self) -> usize {
        match self {
            Self::Answers | Self::P99 => 0,
            Self::Processor | Self::Bytes => 2,
        }
    }
}

/// A bar: the median over the rounds of the ratio to the best of these.
pub(super) struct Judgement<'a> {
    pub(super) what: String,
    pub(super) figure: Figure,
    pub(super) versus: &'a [Contender],
    pub(super) bound: Bound,
}

/// A contender and its rounds.
type Rounds = (Contender, Vec<Measured>);

impl Comparison<'_> {
    /// Measures and prints it.
    pub(super) fn run(&self, http: &Http<'_>, report: &mut Report) -> Result<(), Failure> {
        let chosen = http.chosen(self.contenders);
        if chosen.is_empty() {
            return Ok(());
        }
        let setup = Setup { backend: self.backend, front: http.front, log: self.log };
        let field = Field::start(http.bench, &chosen, setup)?;
        let mut all: Vec<Rounds> = chosen.into_iter().map(|contender| (contender, Vec::new())).collect();
        for _ in 0..http.rounds() {
            for (contender, rounds) in &mut all {
                rounds.push(field.measure(*contender, self.load)?);
            }
        }
        let logs = field.stop()?;
        report.say(&format!("### {}, {} rounds of {} s in turns\n", self.title, http.rounds(), self.load.seconds));
        for figure in self.figures {
            report.say(&format!("{}.\n\n{}", figure.what(), by_round(*figure, &all)));
        }
        report.say(&format!("Medians:\n\n{}", summary(&all)));
        if self.log {
            said_about_logs(&all, &logs, report)?;
        }
        for judgement in &self.judgements {
            if let Some(seen) = judgement.seen(self.contenders[0], &all) {
                let names: Vec<String> = judgement.versus.iter().map(|versus| versus.name()).collect();
                let what = format!("{}, to {}", judgement.what, names.join(" or "));
                report.judge(Bar { what, bound: judgement.bound, seen, unit: "×" });
            }
        }
        Ok(())
    }
}

impl Judgement<'_> {
    /// Unless one of those that are needed was not asked for.
    fn seen(&self, first: Contender, all: &[Rounds]) -> Option<f64> {
        let of = |contender| all.iter().find(|(other, _)| *other == contender).map(|(_, rounds)| rounds);
        let ours = of(first)?;
        let versus = self.versus.iter().map(|contender| of(*contender)).collect::<Option<Vec<_>>>()?;
        let best = |round: usize| {
            let figures = versus.iter().map(|rounds| self.figure.of(&rounds[round]));
            match self.figure {
                Figure::Processor | Figure::P99 => figures.fold(f64::INFINITY, f64::min),
                Figure::Answers | Figure::Bytes => figures.fold(0.0, f64::max),
            }
        };
        let ratios: Vec<f64> = (0..ours.len()).map(|round| self.figure.of(&ours[round]) / best(round)).collect();
        Some(median(&ratios))
    }
}

/// A row for each round, and one with the medians: also of the ratios, round by round.
fn by_round(figure: Figure, all: &[Rounds]) -> Table {
    let mut head = vec!["round".to_owned()];
    for (nth, (contender, _)) in all.iter().enumerate() {
        head.push(contender.name());
        if nth > 0 {
            head.push("ratio".to_owned());
        }
    }
    let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
    let figures: Vec<Vec<f64>> =
        all.iter().map(|(_, rounds)| rounds.iter().map(|round| figure.of(round)).collect()).collect();
    let ratios = |nth: usize| -> Vec<f64> { figures[0].iter().zip(&figures[nth]).map(|(a, b)| a / b).collect() };
    let row = |name: String, of: &dyn Fn(&[f64]) -> f64| {
        let mut row = vec![name];
        for (nth, figures) in figures.iter().enumerate() {
            row.push(format!("{:.*}", figure.decimals(), of(figures)));
            if nth > 0 {
                row.push(format!("{:.2}", of(&ratios(nth))));
            }
        }
        row
    };
    for round in 0..figures[0].len() {
        table.row(row((round + 1).to_string(), &|figures| figures[round]));
    }
    table.row(row("median".to_owned(), &median));
    table
}

fn summary(all: &[Rounds]) -> Table {
    let mut table =
        Table::new(&["", "user, µs", "system, µs", "answers a second", "p50, µs", "p99, µs", "longest, ms"]);
    for (contender, rounds) in all {
        let of = |figure: &dyn Fn(&Measured) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>());
        table.row(vec![
            contender.name(),
            format!("{:.2}", of(&|round| round.micros(round.used.user))),
            format!("{:.2}", of(&|round| round.micros(round.used.system))),
            format!("{:.0}", of(&|round| float(round.answers) / round.time.as_secs_f64())),
            format!("{:.0}", of(&|round| round.p50.as_secs_f64() * 1e6)),
            format!("{:.0}", of(&|round| round.p99.as_secs_f64() * 1e6)),
            format!("{:.1}", of(&|round| round.most.as_secs_f64() * 1e3)),
        ]);
    }
    table
}

/// A log that misses requests is no log.
fn said_about_logs(all: &[Rounds], logs: &[(u64, u64)], report: &Report) -> Result<(), Failure> {
    let mut said = Vec::new();
    for ((contender, rounds), (lines, bytes)) in all.iter().zip(logs) {
        let answers: u64 = rounds.iter().map(|round| round.answers).sum();
        if *lines < answers {
            return Err(Failure::new(
                format!("cannot compare the log of {}: {lines} lines for {answers} answers", contender.name()),
                "read it",
            ));
        }
        said.push(format!("{} {:.0}", contender.name(), float(*bytes) / float(*lines)));
    }
    report.say(&format!("Bytes of a line: {}\n", said.join(", ")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::super::procfs::Used, *};

    fn round(micros: u64) -> Measured {
        let processor = Duration::from_micros(micros);
        let used = Used { processor, user: processor / 4, system: processor * 3 / 4 };
        Measured { answers: 1, bytes: 1_000, time: Duration::from_secs(1), used, p99: processor, ..Measured::default() }
    }

    fn rounds(contender: Contender, micros: [u64; 3]) -> Rounds {
        (contender, micros.into_iter().map(round).collect())
    }

    #[test]
    fn a_bar_is_the_median_of_the_ratios_to_the_best_of_each_round() {
        let all = [
            rounds(Contender::Tambat, [10, 10, 10]),
            rounds(Contender::Nginx, [20, 40, 20]),
            rounds(Contender::Haproxy, [40, 20, 80]),
        ];
        let versus = &[Contender::Nginx, Contender::Haproxy];
        let mut judgement =
            Judgement { what: String::new(), figure: Figure::Processor, versus, bound: Bound::AtMost(1.0) };
        assert!((judgement.seen(Contender::Tambat, &all).unwrap() - 0.5).abs() < 1e-9);
        judgement.figure = Figure::Bytes;
        assert!((judgement.seen(Contender::Tambat, &all).unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(judgement.seen(Contender::Tambat, &all[..2]), None);
    }

    #[test]
    fn a_table_has_the_rounds_and_the_medians_of_figures_and_ratios() {
        let all = [rounds(Contender::Tambat, [10, 30, 20]), rounds(Contender::Nginx, [20, 40, 80])];
        let table = by_round(Figure::Processor, &all).to_string();
        let rows: Vec<Vec<&str>> =
            table.lines().map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
        assert_eq!(rows[0], ["round", "tambat", "nginx", "ratio"]);
        assert_eq!(rows[3], ["2", "30.00", "40.00", "0.75"]);
        assert_eq!(rows[5], ["median", "20.00", "40.00", "0.50"]);
        assert!(summary(&all).to_string().contains("| tambat | 5.00"), "{}", summary(&all));
    }

    #[test]
    fn a_log_that_misses_requests_is_a_failure() {
        let all = [rounds(Contender::Tambat, [1, 1, 1])];
        assert!(said_about_logs(&all, &[(3, 300)], &Report::default()).is_ok());
        assert!(said_about_logs(&all, &[(2, 200)], &Report::default()).is_err());
    }
}
