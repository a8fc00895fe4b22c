/* What is left of the compiler's start files for a shared library.
 *
 * They bring _init and _fini, tables for C++'s transactional memory, and an
 * undefined weak symbol for each: code in pages of its own that runs in every
 * process, and names that the dynamic linker looks for in all objects, in
 * vain. The library has nothing of all that, and is never unloaded. Linked
 * into the shared library only.
 */

/* By this the C library knows whose a handler is (pthread_atfork). */
__attribute__((visibility("hidden"))) const void *const __dso_handle = &__dso_handle;
