//! The catalogue: every recipe that this run can use, embedded or from the user's folders.
//!
//! Recipes are data: `family/name.toml` with `name.golden` and `name.sigma.yml` beside it. The
//! embedded ones are listed by the build script. A user's recipe may not take an embedded id,
//! because the same id must mean the same events in every ledger.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::recipe::{MAX_SOURCE, Recipe, RecipeError};

/// Name below `recipes/` and content of every embedded file.
static EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/recipes.rs"));

/// Most recipes that one folder may hold.
const MAX_RECIPES: usize = 2000;

/// Where a recipe came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Part of this program.
    Embedded,
    /// A file of the user's.
    File(PathBuf),
}

/// A recipe with what lies beside it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The recipe.
    pub recipe: Arc<Recipe>,
    /// SHA-256 of the recipe's source, hex.
    pub digest: String,
    /// Where it came from.
    pub origin: Origin,
    /// The file's name for messages: a path, or `family/name.toml` for embedded ones.
    pub file: String,
    /// The source text.
    pub source: String,
    /// Its Sigma files: name and text, in the recipe's order. A file that is missing is not here.
    pub sigma: Vec<(String, String)>,
    /// What the recipe renders for the fixed key, serial and clock of its golden file.
    pub golden: Option<String>,
}

/// Every recipe by id.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    entries: BTreeMap<String, Entry>,
}

impl Catalogue {
    /// The embedded recipes.
    pub fn embedded() -> Result<Catalogue, RecipeError> {
        let mut catalogue = Catalogue::default();
        let find = |name: &str| {
            EMBEDDED.iter().find(|(path, _)| *path == name).map(|(_, text)| (*text).to_owned())
        };
        for (path, source) in EMBEDDED.iter().filter(|(path, _)| path.ends_with(".toml")) {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let beside = |name: &str| find(&format!("{folder}/{name}"));
            catalogue.add(path, (*source).to_owned(), Origin::Embedded, &beside)?;
        }
        Ok(catalogue)
    }

    /// The embedded recipes and those of the folders (one level of family folders is followed).
    pub fn load(folders: &[PathBuf]) -> Result<Catalogue, RecipeError> {
        let mut catalogue = Catalogue::embedded()?;
        for folder in folders {
            for file in recipe_files(folder)? {
                let name = file.display().to_string();
                let source = read(&file)?;
                let beside = |name: &str| read(&file.with_file_name(name)).ok();
                catalogue.add(&name, source, Origin::File(file.clone()), &beside)?;
            }
        }
        Ok(catalogue)
    }

    fn add(
        &mut self,
        file: &str,
        source: String,
        origin: Origin,
        beside: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), RecipeError> {
        let recipe = Recipe::parse(file, &source)?;
        if let Some(other) = self.entries.get(&recipe.id) {
            return Err(RecipeError {
                file: file.into(),
                line: None,
                field: Some("id".into()),
                problem: format!("`{}` is taken by {}", recipe.id, other.file),
                help: "choose another id".into(),
            });
        }
        // A Sigma file's name must not lead out of the recipe's folder.
        let plain = |name: &&String| !name.contains(['/', '\\']) && !name.starts_with('.');
        let sigma = recipe
            .sigma
            .iter()
            .filter(plain)
            .filter_map(|name| beside(name).map(|text| (name.clone(), text)))
            .collect();
        let stem = recipe.id.rsplit('/').next().unwrap_or_default();
        let golden = beside(&format!("{stem}.golden"));
        let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(source.as_bytes()));
        let id = recipe.id.clone();
        let entry = Entry {
            recipe: Arc::new(recipe),
            digest,
            origin,
            file: file.into(),
            source,
            sigma,
            golden,
        };
        self.entries.insert(id, entry);
        Ok(())
    }

    /// The recipe of this id.
    pub fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// The id nearest to a mistyped one, if a few letters make the difference. All ids of a family
    /// begin alike, which makes none of them near.
    pub fn suggest(&self, id: &str) -> Option<&str> {
        let distance = |known: &str| strsim::damerau_levenshtein(id, known);
        let near = self.entries.keys().map(|known| (distance(known), known.as_str())).min();
        near.filter(|(letters, known)| *letters <= 1 + known.len() / 6).map(|(_, known)| known)
    }

    /// All recipes, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
}

/// Recipe files of a folder and of the folders directly in it, sorted.
fn recipe_files(folder: &Path) -> Result<Vec<PathBuf>, RecipeError> {
    let mut files = Vec::new();
    let mut folders = Vec::new();
    for path in list(folder)? {
        if path.is_dir() {
            folders.push(path);
        } else {
            files.push(path);
        }
    }
    for folder in folders {
        files.extend(list(&folder)?.into_iter().filter(|path| path.is_file()));
    }
    files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    files.sort();
    if files.len() > MAX_RECIPES {
        return Err(io_error(folder, &format!("holds more than {MAX_RECIPES} recipes")));
    }
    Ok(files)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, RecipeError> {
    let entries = fs::read_dir(folder).map_err(|error| io_error(folder, &error.to_string()))?;
    entries
        .map(|entry| entry.map(|e| e.path()).map_err(|error| io_error(folder, &error.to_string())))
        .collect()
}

fn read(file: &Path) -> Result<String, RecipeError> {
    let length = fs::metadata(file).map_err(|error| io_error(file, &error.to_string()))?.len();
    if length > 4 * MAX_SOURCE as u64 {
        return Err(io_error(file, &format!("{length} bytes, more than {}", 4 * MAX_SOURCE)));
    }
    fs::read_to_string(file).map_err(|error| io_error(file, &error.to_string()))
}

fn io_error(path: &Path, problem: &str) -> RecipeError {
    RecipeError {
        file: path.display().to_string(),
        line: None,
        field: None,
        problem: problem.to_owned(),
        help: "check the path and its permissions".into(),
    }
}
