//! How the shared library is linked: its soname, and that it stays loaded, for it has threads.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libringlane.so.0");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
