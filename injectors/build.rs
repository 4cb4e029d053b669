//! Lists the recipe folder and embeds what it holds, so that a new recipe needs data files only.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("recipes");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    for family in sorted(&root)? {
        if family.is_dir() {
            println!("cargo::rerun-if-changed={}", family.display());
            files.extend(sorted(&family)?.into_iter().filter(|path| is_recipe_data(path)));
        }
    }
    let mut source = String::from("&[\n");
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
        let name = file.strip_prefix(&root).unwrap_or(file);
        // `{:?}` writes a valid Rust string literal for any path.
        let _ = writeln!(
            source,
            "    ({:?}, include_str!({:?})),",
            name.to_string_lossy(),
            file.to_string_lossy()
        );
    }
    source.push(']');
    let target = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(target.join("recipes.rs"), source)
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

fn is_recipe_data(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [".toml", ".golden", ".sigma.yml"].iter().any(|end| name.ends_with(end))
}
