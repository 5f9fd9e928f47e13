//! The newest route table, as one worker has it.

use std::cell::{Cell, Ref, RefCell};
use std::sync::Arc;

use tambat_model::RouteTable;
use tokio::sync::watch;

/// The newest route table. Looking costs one atomic load, until there is a newer one.
#[derive(Debug)]
pub(crate) struct Tables {
    source: RefCell<watch::Receiver<Arc<RouteTable>>>,
    newest: RefCell<Arc<RouteTable>>,
    /// Nobody publishes tables any more, and the last one is here.
    ended: Cell<bool>,
}

impl Tables {
    pub(crate) fn new(mut source: watch::Receiver<Arc<RouteTable>>) -> Self {
        let newest = Arc::clone(&source.borrow_and_update());
        Self { source: RefCell::new(source), newest: RefCell::new(newest), ended: Cell::new(false) }
    }

    /// The newest table there is at this moment.
    pub(crate) fn newest(&self) -> Ref<'_, RouteTable> {
        let news = self.source.borrow().has_changed().ok();
        if news.unwrap_or(!self.ended.get()) {
            self.ended.set(news.is_none());
            let table = Arc::clone(&self.source.borrow_mut().borrow_and_update());
            self.newest.replace(table);
        }
        Ref::map(self.newest.borrow(), |table| &**table)
    }

    /// Tells of newer tables: for those who wait.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<RouteTable>> {
        self.source.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use tambat_model::{Admission, Protocol, Route};

    use super::*;

    fn table(name: &str) -> Arc<RouteTable> {
        let mut table = RouteTable::default();
        table.insert(
            5_000_u16.try_into().unwrap(),
            Route::new(name, Protocol::Http, Admission::Refuse { cause: "".into(), mend: None }),
        );
        Arc::new(table)
    }

    fn seen(tables: &Tables) -> String {
        tables.newest().iter().map(|(_, route)| route.name.clone()).collect()
    }

    #[test]
    fn a_table_is_seen_as_soon_as_it_is_published_also_the_last_one() {
        let (sender, receiver) = watch::channel(table("first"));
        let tables = Tables::new(receiver);
        assert_eq!((seen(&tables), seen(&tables)), ("first".into(), "first".into()));
        sender.send_replace(table("second"));
        assert_eq!(seen(&tables), "second");
        sender.send_replace(table("last"));
        drop(sender);
        assert_eq!((seen(&tables), seen(&tables)), ("last".into(), "last".into()));
    }
}
