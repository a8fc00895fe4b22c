/* A library with nothing in it: what preloading anything at all costs. */
extern const int empty_library;
const int empty_library = 1;
