//! What makes a million canaries fit: names that are shared, lists that rarely hold two, and canaries
//! kept in blocks that are given back one by one while they are turned into views.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use dwell_injectors::token::TokenId;
use serde::{Serialize, Serializer};

use super::canary::Canary;

/// A text that many canaries share: a watcher, a rule, a reason. May be foreign.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Name {
        Name(text.into())
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

/// Interned names: a million canaries share a handful of watchers, rules and reasons.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_name: HashMap<Name, u32>,
    list: Vec<Name>,
    groups: HashSet<Arc<[u32]>>,
}

impl Names {
    pub(super) fn intern(&mut self, name: &str) -> u32 {
        if let Some(index) = self.find(name) {
            return index;
        }
        let index = self.list.len() as u32;
        let name = Name::from(name);
        self.list.push(name.clone());
        self.by_name.insert(name, index);
        index
    }

    /// One shared copy of a list of names.
    pub(super) fn group(&mut self, names: &[String]) -> Arc<[u32]> {
        let indexes: Vec<u32> = names.iter().map(|name| self.intern(name)).collect();
        if let Some(known) = self.groups.get(indexes.as_slice()) {
            return Arc::clone(known);
        }
        let group: Arc<[u32]> = indexes.into();
        self.groups.insert(Arc::clone(&group));
        group
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(super) fn name(&self, index: u32) -> &str {
        self.list.get(index as usize).map_or("", |name| name)
    }

    /// The shared copy of a name.
    pub(super) fn shared(&self, index: u32) -> Name {
        self.list.get(index as usize).cloned().unwrap_or_else(|| Name::from(""))
    }

    /// The shared copy of a text if there is one, else a new copy.
    pub(super) fn shared_of(&self, text: &str) -> Name {
        self.find(text).map_or_else(|| Name::from(text), |index| self.shared(index))
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self
    }
}

/// A list that holds none or one without a heap, as nearly all of a canary's lists do.
#[derive(Clone, Debug, Default)]
pub(super) enum Few<T> {
    #[default]
    None,
    One(T),
    Many(Vec<T>),
}

impl<T> Few<T> {
    pub(super) fn push(&mut self, item: T) {
        *self = match std::mem::take(self) {
            Few::None => Few::One(item),
            Few::One(first) => Few::Many(vec![first, item]),
            Few::Many(mut items) => {
                items.push(item);
                Few::Many(items)
            }
        };
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Few::None => &[],
            Few::One(item) => std::slice::from_ref(item),
            Few::Many(items) => items,
        }
    }
}

/// Canaries in a block.
const BLOCK: usize = 4_096;

/// All canaries, in the order of their intents.
#[derive(Debug, Default)]
pub(super) struct Canaries {
    by_id: HashMap<TokenId, u32>,
    blocks: Vec<Vec<Canary>>,
}

impl Canaries {
    /// Adds a canary, or puts it in the place of the one with its id.
    pub(super) fn insert(&mut self, id: TokenId, canary: Canary) {
        if let Some(known) = self.get_mut(&id) {
            *known = canary;
            return;
        }
        let at = self.by_id.len();
        if at.is_multiple_of(BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK.min(at.max(64))));
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push(canary);
            self.by_id.insert(id, at as u32);
        }
    }

    pub(super) fn get_mut(&mut self, id: &TokenId) -> Option<&mut Canary> {
        let at = *self.by_id.get(id)? as usize;
        self.blocks.get_mut(at / BLOCK)?.get_mut(at % BLOCK)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Canary> {
        self.blocks.iter().flatten()
    }

    /// Gives the canaries up, and their memory block by block.
    pub(super) fn into_values(self) -> impl Iterator<Item = Canary> {
        drop(self.by_id);
        self.blocks.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_keeps_order_and_number() {
        let mut few = Few::default();
        assert!(few.is_empty());
        for n in 0..5 {
            few.push(n);
            assert_eq!(few.to_vec(), (0..=n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn names_are_shared() {
        let mut names = Names::default();
        let index = names.intern("a");
        assert_eq!(names.intern("a"), index);
        assert!(Arc::ptr_eq(&names.shared(index).0, &names.shared_of("a").0));
        let group = |names: &mut Names| names.group(&["a".to_owned(), "b".to_owned()]);
        let first = group(&mut names);
        assert!(Arc::ptr_eq(&first, &group(&mut names)));
        assert_eq!(names.name(first[1]), "b");
        assert_eq!(names.shared_of("nobody"), "nobody");
    }
}
