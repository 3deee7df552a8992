//! What a lane is asked to give up of a partition: the records below an offset.
//!
//! Invariant: what some group has not finished goes only by an offset that says so. The lane judges it when it writes
//! the Truncate frame, whatever was true when it was asked: a group may have begun since.

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Everything below this one goes.
    to: u64,
    /// And below this one what every group has finished that reads the partition.
    finished_to: u64,
}

impl Cut {
    /// Everything below an offset, whoever has not finished it.
    pub(crate) fn all_below(to: u64) -> Cut {
        Cut { to, finished_to: 0 }
    }

    /// What every group has finished below an offset; where no group reads the partition, everything.
    pub(crate) fn finished_below(finished_to: u64) -> Cut {
        Cut { to: 0, finished_to }
    }

    /// Both of them.
    pub(crate) fn and(self, other: Cut) -> Cut {
        Cut { to: self.to.max(other.to), finished_to: self.finished_to.max(other.finished_to) }
    }

    /// No more than everything below this offset goes.
    pub(crate) fn to_max(self) -> u64 {
        self.to.max(self.finished_to)
    }

    /// The new first offset; `finished_to` is the position of the group that is furthest behind.
    pub(crate) fn first_offset(self, finished_to: Option<u64>) -> u64 {
        self.to.max(self.finished_to.min(finished_to.unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unfinished_goes_only_where_that_is_said() {
        let cut = Cut::all_below(10).and(Cut::finished_below(30)).and(Cut::finished_below(20));
        assert_eq!(cut.to_max(), 30);
        for (finished_to, expected) in [(None, 30), (Some(5), 10), (Some(25), 25), (Some(50), 30)] {
            assert_eq!(cut.first_offset(finished_to), expected);
        }
        assert_eq!(Cut::all_below(10).first_offset(Some(0)), 10);
    }
}
