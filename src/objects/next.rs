//! The next definition of a function after this library's, as
//! `dlsym(RTLD_NEXT)` finds it, without its price: five calls of that were
//! the largest part of loading the library.

use super::definition::{Found, Name};
use super::{Object, Program};

/// The next definitions after this library's own object. None for a name:
/// dlsym has to say it.
///
/// The order of the list is that of RTLD_NEXT for what was loaded with the
/// program. It need not be for an object that was opened later: its own scope
/// may lead back to the C library, which stands before it in the list. Then
/// a name is defined before it; so it is, too, behind another library that
/// wraps the name, and dlsym answers for both.
pub fn next<const N: usize>(names: &[&Name; N]) -> [Option<usize>; N] {
    match Program::find().and_then(|program| program.objects()) {
        Some(objects) => after(objects, Object::is_own, names),
        None => [None; N],
    }
}

#[unsafe(link_section = ".load_time")]
fn after<const N: usize>(
    mut objects: impl Iterator<Item = Object>,
    is_own: impl Fn(&Object) -> bool,
    names: &[&Name; N],
) -> [Option<usize>; N] {
    let mut found = [None; N];
    for object in objects.by_ref() {
        if is_own(&object) {
            break;
        }
        let defines = |name: &&Name| !matches!(object.definition(name), Found::Nothing);
        if names.iter().any(defines) {
            return found;
        }
    }
    let mut settled = [false; N];
    for object in objects {
        for (index, name) in names.iter().enumerate() {
            if !settled[index] {
                match object.definition(name) {
                    Found::Nothing => continue,
                    Found::At(address) => found[index] = Some(address),
                    Found::Unclear => {}
                }
                settled[index] = true;
            }
        }
        if settled.iter().all(|&settled| settled) {
            break;
        }
    }
    found
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn next_of<const N: usize>(names: [Name; N]) -> [Option<usize>; N] {
        next(&names.each_ref())
    }

    /// After the test program.
    fn by_dlsym(name: &Name) -> usize {
        // SAFETY: RTLD_NEXT and a C string.
        unsafe { libc::dlsym(libc::RTLD_NEXT, name.text().as_ptr()) as usize }
    }

    #[test]
    fn a_plain_function_is_found_where_dlsym_finds_it() {
        // The last five have older versions besides the default one.
        for name in [
            c"close",
            c"dup2",
            c"dup3",
            c"close_range",
            c"closefrom",
            c"open",
            c"getpid",
            c"qsort",
            c"fork",
            c"pthread_create",
            c"dlsym",
            c"realpath",
            c"aio_read",
            c"posix_spawn",
        ] {
            let expected = by_dlsym(&Name::new(name));
            let [found] = next_of([Name::new(name)]);
            // A C library may be too old for a name.
            assert_eq!(found.unwrap_or(0), expected, "{name:?}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_dlsym() {
        // Chosen by the processor; data; nowhere defined.
        let names = [c"memcpy", c"environ", c"no_such_function"].map(Name::new);
        assert!(by_dlsym(&names[0]) != 0 && by_dlsym(&names[1]) != 0);
        assert_eq!(next_of(names), [None; 3]);
    }

    #[test]
    fn an_object_that_is_not_in_the_list_has_no_next() {
        let objects = Program::find().unwrap().objects().unwrap();
        let found = after(objects, |_| false, &[&Name::new(c"close")]);
        assert_eq!(found, [None]);
    }

    /// As if this library had been opened later: the C library stands before
    /// it in the list, and what defines the name anew behind.
    #[test]
    fn a_name_that_is_defined_before_is_left_to_dlsym() {
        let name = Name::new(c"close");
        let objects = || Program::find().unwrap().objects().unwrap();
        let program = objects().next().unwrap().symbols;
        let is_program = |object: &Object| object.symbols == program;
        assert!(after(objects(), is_program, &[&name])[0].is_some());

        let times = std::cell::Cell::new(0);
        let is_second = |object: &Object| {
            times.set(times.get() + usize::from(is_program(object)));
            times.get() == 2
        };
        let twice = objects().chain(objects());
        assert_eq!(after(twice, is_second, &[&name]), [None]);
    }
}
