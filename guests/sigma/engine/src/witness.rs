//! Which atoms to look for.
//!
//! A rule can only match where one atom of its *witness set* holds. Of all such sets the cheapest is taken; only the
//! atoms in it go into the index, and only rules with a witness in a row are evaluated there.

use crate::literal::bits;
use crate::pattern::Shape;
use crate::test::Test;
use crate::tree::{Atom, Expr};

/// A set of atoms, one of which must hold, and what it is expected to cost per row.
pub(crate) struct Witness {
    pub cost: f64,
    pub atoms: Vec<u32>,
}

/// What finding the atoms costs. Names of programs and short literals that many rules name are in many events, whatever
/// the frequency of their bytes says: an atom gets dearer with every rule that has it for a witness.
pub(crate) struct Prices {
    atoms: Vec<Option<f64>>,
}

impl Prices {
    pub fn new(atoms: &[Atom]) -> Self {
        Self { atoms: atoms.iter().map(|a| cost(&a.test)).collect() }
    }

    /// After a first choice of witnesses: `shared` = how many rules chose each atom.
    pub fn raise(&mut self, shared: &[u32]) {
        for (price, shared) in self.atoms.iter_mut().zip(shared) {
            if let Some(price) = price {
                *price += SHARED * f64::from(shared.saturating_sub(FREE));
            }
        }
    }

    /// The cheapest witness set of `expr`; None = `expr` may hold where no atom does, as `not x` does.
    pub fn witness(&self, expr: &Expr) -> Option<Witness> {
        necessary(expr, true, &self.atoms)
    }
}

/// What one more entry of a table costs a row, and one more literal to search for: next to nothing.
const HASHED: f64 = 0.000_01;
const SEARCHED: f64 = 0.000_1;
/// Literals of one byte are searched for one by one.
const SEARCHED_APART: f64 = 0.1;
/// What each rule that shares an atom adds to its price, and how many are free.
const SHARED: f64 = 0.002;
const FREE: u32 = 2;

fn necessary(expr: &Expr, wanted: bool, prices: &[Option<f64>]) -> Option<Witness> {
    match (expr, wanted) {
        (Expr::Not(inner), _) => necessary(inner, !wanted, prices),
        (Expr::All(parts), true) | (Expr::Any(parts), false) => {
            let sets = parts.iter().filter_map(|p| necessary(p, wanted, prices));
            sets.min_by(|a, b| a.cost.total_cmp(&b.cost))
        }
        (Expr::Any(parts), true) | (Expr::All(parts), false) => {
            let mut all = Witness { cost: 0.0, atoms: Vec::new() };
            for part in parts {
                let set = necessary(part, wanted, prices)?;
                all.cost += set.cost;
                all.atoms.extend(set.atoms);
            }
            Some(all)
        }
        (Expr::Atom(atom), true) => prices[*atom as usize].map(|cost| Witness { cost, atoms: vec![*atom] }),
        (Expr::Atom(_), false) => None,
    }
}

/// Chance that the atom holds in a row, plus what looking for it costs; None = the index cannot find it.
fn cost(test: &Test) -> Option<f64> {
    // A command line offers some fifty places for a literal.
    let anywhere = |literal: &[u8]| bits(literal) - 5.5;
    let searched = |literal: &[u8]| if literal.len() < 2 { SEARCHED_APART } else { SEARCHED };
    let (bits, search) = match test {
        Test::Text(text) => match &text.shape {
            Shape::Any => (0.0, 0.0),
            // Whole values and names of programs are written down because they occur.
            Shape::Equals(l) => (bits(l).min(10.0), HASHED),
            Shape::Suffix(l) if is_basename(l) => (bits(l).min(10.0), HASHED),
            Shape::Prefix(l) | Shape::Suffix(l) => (bits(l) - 2.0, searched(l)),
            Shape::Contains(l) => (anywhere(l.bytes()), searched(l.bytes())),
            Shape::Wildcards(w) => match w.literals().map(anywhere).reduce(f64::max) {
                Some(bits) => (bits, 0.005),
                None => (1.0, 0.05),
            },
        },
        Test::Number(_) => (10.0, HASHED),
        Test::Network(_) => (4.0, 0.02),
        Test::Compare(..) => (1.0, 0.02),
        Test::Time(..) => (2.0, 0.05),
        Test::Regex(regex) if !regex.required.is_empty() => {
            let worst = regex.required.iter().map(|l| anywhere(l)).fold(f64::INFINITY, f64::min);
            let search: f64 = regex.required.iter().map(|l| searched(l)).sum();
            (worst - (regex.required.len() as f64).log2(), 0.005 + search)
        }
        // A length test in disguise costs next to nothing on the many short values.
        Test::Regex(regex) if regex.minimum >= 64 => (6.0, 0.02),
        Test::Regex(_) => (2.0, 0.5),
        Test::Null | Test::Missing => (2.0, 0.001),
        Test::Exists => (0.2, 0.001),
        Test::Same(..) => return None,
    };
    Some(2f64.powf(-bits.clamp(0.0, 40.0)) + search)
}

/// `/name`: found by hashing what follows the last slash, without any search.
pub(crate) fn is_basename(literal: &[u8]) -> bool {
    literal.len() > 1 && memchr::memrchr(b'/', literal) == Some(0)
}
