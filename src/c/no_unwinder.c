/* The unwinder's functions that Rust's standard library names, as dead ends.
 *
 * The library is built with panic=abort: nothing in it is ever unwound by its
 * own doing. Without these the shared library would pull libgcc_s into every
 * process it is preloaded into, which costs more than all the rest of its
 * loading. A panic (there should be none) prints its message, without a
 * backtrace, and aborts. Linked into the shared library only, where they are
 * local; in a static program the real ones are used. A cancelled thread is
 * unwound by the C library, which brings the unwinder itself.
 */
#include <stddef.h>
#include <stdlib.h>

int _Unwind_Backtrace(void *function, void *argument)
{
    (void)function, (void)argument;
    return 5; /* _URC_END_OF_STACK */
}

#define NOTHING(name) \
    size_t name(void) { return 0; }
NOTHING(_Unwind_GetIP)
NOTHING(_Unwind_GetIPInfo)
NOTHING(_Unwind_GetCFA)
NOTHING(_Unwind_GetDataRelBase)
NOTHING(_Unwind_GetTextRelBase)
NOTHING(_Unwind_GetRegionStart)
NOTHING(_Unwind_GetLanguageSpecificData)
NOTHING(_Unwind_FindEnclosingFunction)
NOTHING(_Unwind_SetGR)
NOTHING(_Unwind_SetIP)

#define NEVER(name) \
    void name(void) { abort(); }
NEVER(_Unwind_RaiseException)
NEVER(_Unwind_Resume)
NEVER(_Unwind_DeleteException)
