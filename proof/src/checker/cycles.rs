//! Circles among transactions: G0 over the order of writes, G1c over writes and reads.
//!
//! A node is a transaction, or a single send. Edges: ww, from the writer of an offset to the writer of
//! the next one that is known; wr, from the writer of a record to the transaction that read or
//! acknowledged it. Transactions are in effect one after the other, so no circle may be there.
//!
//! Kafka allows both; Ringlane does not: offsets are in commit order, in every partition.

use super::finding::{Anomaly, Finding};
use super::world::World;
use crate::history::{Answer, Outcome};

/// An edge to a node, and whether it is a read.
type Edge = (usize, bool);

impl World<'_> {
    /// Looks for circles.
    pub(super) fn judge_cycles(&mut self) {
        if self.records.transactions.is_empty() {
            return;
        }
        let edges = self.edges();
        let count: usize = edges.iter().map(Vec::len).sum();
        self.steps += 4 * (edges.len() + count) as u64;
        let of_writes = components(&edges, |(_, is_read)| !is_read);
        let of_all = components(&edges, |_| true);
        self.report(&edges, &of_writes, Anomaly::G0, |(_, is_read)| !is_read);
        // A circle of writes alone is known already.
        let is_new = |members: &[usize]| {
            members.iter().any(|from| {
                edges[*from].iter().any(|(to, is_read)| *is_read && of_all.component[*from] == of_all.component[*to])
            })
        };
        let with_reads = Components {
            members: of_all.members.iter().filter(|members| is_new(members)).cloned().collect(),
            component: of_all.component.clone(),
        };
        self.report(&edges, &with_reads, Anomaly::G1c, |_| true);
    }

    /// Transactions come first, then records.
    fn node(&self, record: usize) -> usize {
        self.records.all[record].transaction.unwrap_or(self.records.transactions.len() + record)
    }

    fn edges(&mut self) -> Vec<Vec<Edge>> {
        let mut edges = vec![Vec::new(); self.records.transactions.len() + self.records.all.len()];
        let mut add = |from: usize, to: usize, is_read: bool| {
            if from != to && edges[from].last() != Some(&(to, is_read)) {
                edges[from].push((to, is_read));
            }
        };
        for partition in &self.logs.partitions {
            self.steps += partition.slots.len() as u64;
            let writers = partition.slots.iter().filter_map(|slot| slot.bound).map(|record| self.node(record));
            let mut last = None;
            for writer in writers {
                if let Some(last) = last.replace(writer) {
                    add(last, writer, false);
                }
            }
        }
        for (reader, transaction) in self.records.transactions.iter().enumerate() {
            for lease in &transaction.leases {
                self.steps += 1;
                if let Some(lease) = self.groups.by_number.get(lease) {
                    add(self.node(self.groups.leases[*lease].record), reader, true);
                }
            }
            for poll in &transaction.polls {
                let Some((_, Outcome::Ok(Answer::Polled { reads, .. }))) = self.operations.ending_of(*poll) else {
                    continue;
                };
                for (_, value) in reads.iter().flat_map(|read| &read.records) {
                    self.steps += 1;
                    if let Some(record) = self.records.find(*value) {
                        add(self.node(record), reader, true);
                    }
                }
            }
        }
        edges
    }

    fn report(
        &mut self,
        edges: &[Vec<Edge>],
        components: &Components,
        anomaly: Anomaly,
        counts: impl Fn(&Edge) -> bool + Copy,
    ) {
        for members in &components.members {
            let circle = circle(edges, members, &components.component, counts, anomaly == Anomaly::G1c);
            let names: Vec<String> = circle.iter().map(|node| self.name(*node)).collect();
            let index = circle.iter().map(|node| self.event_of(*node)).max().unwrap_or(0);
            let message = format!("{} transactions or sends in a circle: {}", members.len(), names.join(" -> "));
            self.findings.push(Finding::new(index, anomaly, message));
        }
    }

    fn name(&self, node: usize) -> String {
        match self.records.transactions.get(node) {
            Some(transaction) => format!("transaction {}", transaction.number),
            None => format!("value {}", self.records.all[node - self.records.transactions.len()].value),
        }
    }

    fn event_of(&self, node: usize) -> usize {
        match self.records.transactions.get(node) {
            Some(transaction) => transaction.committed.or(transaction.commit_asked).unwrap_or(0),
            None => self.records.all[node - self.records.transactions.len()].sent,
        }
    }
}

/// Nodes that reach each other.
struct Components {
    /// For each node, its component.
    component: Vec<usize>,
    /// Those with more than one node, each in ascending order.
    members: Vec<Vec<usize>>,
}

/// Tarjan's algorithm with a stack of its own: one visit for each node and edge.
fn components(edges: &[Vec<Edge>], counts: impl Fn(&Edge) -> bool) -> Components {
    const UNSEEN: usize = usize::MAX;
    let count = edges.len();
    let (mut order, mut lowest) = (vec![UNSEEN; count], vec![UNSEEN; count]);
    let mut component = vec![UNSEEN; count];
    let (mut open, mut members) = (Vec::new(), Vec::new());
    let (mut next_order, mut next_component) = (0, 0);
    for root in 0..count {
        if order[root] != UNSEEN {
            continue;
        }
        let mut path = vec![(root, 0)];
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            if *next == 0 && order[node] == UNSEEN {
                (order[node], lowest[node]) = (next_order, next_order);
                next_order += 1;
                open.push(node);
            }
            if let Some(edge) = edges[node].get(*next) {
                *next += 1;
                let to = edge.0;
                if !counts(edge) {
                } else if order[to] == UNSEEN {
                    path.push((to, 0));
                } else if component[to] == UNSEEN {
                    lowest[node] = lowest[node].min(order[to]);
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last() {
                lowest[*parent] = lowest[*parent].min(lowest[node]);
            }
            if lowest[node] == order[node] {
                let from = open.iter().rposition(|open| *open == node).expect("it was opened");
                let mut found = open.split_off(from);
                for member in &found {
                    component[*member] = next_component;
                }
                next_component += 1;
                if found.len() > 1 {
                    found.sort_unstable();
                    members.push(found);
                }
            }
        }
    }
    members.sort();
    Components { component, members }
}

/// A circle in a component, the first node again at its end: a shortest one through the first edge that
/// shows the anomaly.
fn circle(
    edges: &[Vec<Edge>],
    members: &[usize],
    component: &[usize],
    counts: impl Fn(&Edge) -> bool,
    must_read: bool,
) -> Vec<usize> {
    let inside = |node: usize| component[node] == component[members[0]];
    let fits = |edge: &Edge| counts(edge) && inside(edge.0);
    let (from, to) = members
        .iter()
        .find_map(|from| edges[*from].iter().find(|edge| fits(edge) && edge.1 == must_read).map(|edge| (*from, edge.0)))
        .expect("a component has such an edge");
    let mut came_from = std::collections::HashMap::from([(to, to)]);
    let mut waiting = std::collections::VecDeque::from([to]);
    while let Some(node) = waiting.pop_front() {
        if node == from {
            break;
        }
        for edge in edges[node].iter().filter(|edge| fits(edge)) {
            came_from.entry(edge.0).or_insert_with(|| {
                waiting.push_back(edge.0);
                node
            });
        }
    }
    let mut circle = vec![from];
    while circle[circle.len() - 1] != to {
        circle.push(came_from[&circle[circle.len() - 1]]);
    }
    circle.reverse();
    circle.push(to);
    circle
}
