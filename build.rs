//! Proves the layout of <aio.h>, compiles the C part, generates the header
//! and tells the linker what kind of library this is.

use std::{env, fs, path::Path};

fn main() {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    println!("cargo:rerun-if-changed=include/aio_shim.h");
    println!("cargo:rerun-if-env-changed=AIO_SHIM_WRITE_HEADER");

    cc::Build::new()
        .file("src/c/layout.c")
        .std("c11")
        .warnings(true)
        .compile("aio_shim_layout");
    cc::Build::new()
        .file("src/c/cancellable.c")
        .file("src/c/own_object.c")
        .std("gnu11")
        // The C library's way through this frame: its tables, no landing pad.
        .flag("-fno-plt")
        .flag("-fno-exceptions")
        .flag("-fasynchronous-unwind-tables")
        .warnings(true)
        .extra_warnings(true)
        .compile("aio_shim_c");

    // As objects on the linker's line: they must come before libgcc_s, and
    // not be in the static library.
    for object in cc::Build::new()
        .file("src/c/no_unwinder.c")
        .file("src/c/no_start_files.c")
        .std("c11")
        .flag("-fno-builtin")
        .warnings(true)
        .extra_warnings(true)
        .compile_intermediates()
    {
        println!("cargo:rustc-cdylib-link-arg={}", object.display());
    }

    for argument in [
        "-Wl,-soname,libaio_shim.so.0",
        // Threads run in it: it may never be unmapped.
        "-Wl,-z,nodelete",
        "-Wl,-z,now",
        "-Wl,-z,relro",
        // Addresses in the file are then offsets, too: perf takes the place
        // of a static probe for an offset. What is written to when the
        // library is loaded begins a page. (The second is lld's word for
        // more of the same; others do not know it.)
        "-Wl,-z,separate-code",
        "-Wl,-z,separate-loadable-segments",
        // See src/c/no_start_files.c.
        "-nostartfiles",
    ] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }

    header();
}

/// Writes include/aio_shim.h when asked to, otherwise warns when it is stale.
fn header() {
    let root = env::var("CARGO_MANIFEST_DIR").unwrap();
    let config = cbindgen::Config::from_file(Path::new(&root).join("cbindgen.toml")).unwrap();
    let sources = [
        "src/abi.rs",
        "src/notify/notice.rs",
        "src/exports/posix.rs",
        "src/exports/extensions.rs",
        "src/exports/collecting.rs",
        "src/stats/summary.rs",
    ];
    let builder = sources.iter().fold(
        cbindgen::Builder::new().with_config(config),
        |builder, file| builder.with_src(Path::new(&root).join(file)),
    );
    let bindings = match builder.generate() {
        Ok(bindings) => bindings,
        // While a source file does not parse, the compiler says it better.
        Err(error) => return println!("cargo:warning=header not generated: {error}"),
    };
    let mut text = Vec::new();
    bindings.write(&mut text);
    // The generator knows numbers only in decimal.
    let fresh = String::from_utf8(text)
        .unwrap()
        .replace("1095323461", "0x41494f45")
        .into_bytes();
    let path = Path::new(&root).join("include/aio_shim.h");
    let committed = fs::read(&path).unwrap_or_default();
    if committed == fresh {
        return;
    }
    if env::var_os("AIO_SHIM_WRITE_HEADER").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, fresh).unwrap();
    } else {
        println!("cargo:warning=include/aio_shim.h is stale: run `make header`");
    }
}
