/* cmocka's header wants the name; nothing jumps (cmocka.h beside this one). */
#ifndef DLX_TESTS_WASM_SETJMP_H
#define DLX_TESTS_WASM_SETJMP_H

typedef int jmp_buf[1];

#endif
