//! Rebuilds the crate when a migration is added, because it embeds them.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
