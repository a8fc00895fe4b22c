/* Which of the loaded objects is this one? */

/* Made by the linker, if what it makes is linked dynamically. */
extern const char _DYNAMIC[] __attribute__((weak, visibility("hidden")));

/* The dynamic section of the object that this code is part of; NULL: there is
 * none. Runs at load, with the Rust functions of that section. */
__attribute__((section(".load_time"))) const void *aio_shim_own_dynamic(void)
{
    return _DYNAMIC;
}
