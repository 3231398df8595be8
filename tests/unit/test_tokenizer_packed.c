/* The packed form of a tokenizer against hostile bytes: an error or a tokenizer that works, never anything else. */
#include "text_check.h"
#include "text/packed.h"
#include "text/tokenizer.h"

static uint8_t *pack_family(const char *family, size_t *n)
{
    void *bytes;
    dlx_tokenizer *t = open_family(family);
    assert_ok(dlx_tokenizer_pack(t, &bytes, n, err));
    dlx_tokenizer_close(t);
    return bytes;
}

/* The format: what older versions packed stays readable, and says the same as what is packed today. */
static void check_recorded(const char *path)
{
    static const char text[] = "Hello <|im_start|>world's \xE4\xB8\xAD\xE6\x96\x87 e\xCC\x81 <think>\n\n 12";
    char *recorded;
    size_t n, count[2];
    int32_t *ids[2];
    dlx_tokenizer *t[2] = {NULL, open_family("sdar")};
    assert_ok(dlx_read_file(&recorded, &n, path, 1 << 20, err));
    assert_ok(dlx_tokenizer_open_packed(&t[0], recorded, n, err));
    free(recorded);
    assert_int_equal(t[0]->size, t[1]->size);
    assert_memory_equal(t[0]->kind, t[1]->kind, t[0]->size);
    assert_int_equal(t[0]->offset[t[0]->size], t[1]->offset[t[1]->size]);
    assert_memory_equal(t[0]->bytes, t[1]->bytes, t[0]->offset[t[0]->size]);
    assert_int_equal(t[0]->n_merges, t[1]->n_merges);
    assert_int_equal(t[0]->mask_id, t[1]->mask_id);
    for (int i = 0; i < 2; i++)
        assert_ok(dlx_tokenizer_encode(t[i], text, sizeof text - 1, DLX_ENCODE_SPECIAL, &ids[i], &count[i], err));
    assert_int_equal(count[0], count[1]);
    assert_memory_equal(ids[0], ids[1], count[0] * sizeof **ids);
    for (int i = 0; i < 2; i++) {
        free(ids[i]);
        dlx_tokenizer_close(t[i]);
    }
}

static void test_recorded_files(void **state)
{
    (void)state;
    char *recorded;
    size_t n, m;
    check_recorded(DLX_TEST_DATA "/text/sdar-1.packed");
    check_recorded(DLX_TEST_DATA "/text/sdar-2.packed");
    uint8_t *packed = pack_family("sdar", &m);
    assert_ok(dlx_read_file(&recorded, &n, DLX_TEST_DATA "/text/sdar.packed", 1 << 20, err));
    assert_int_equal(n, m);
    assert_memory_equal(recorded, packed, n);
    free(recorded);
    free(packed);
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (8 * i));
}

/* Opens bytes that lie alone on the heap and uses the tokenizer where there is one; returns whether it opened. */
static bool try_bytes(const uint8_t *bytes, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    dlx_tokenizer *t = (dlx_tokenizer *)copy;
    dlx_error e = {0};
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    dlx_status status = dlx_tokenizer_open_packed(&t, copy, n, &e);
    free(copy);
    if (status != DLX_OK) {
        assert_null(t);
        assert_int_equal(e.status, status);
        assert_non_null(strstr(e.message, "token"));
        return false;
    }
    static const char text[] = "Hello <|im_start|>world's \xE4\xB8\xAD\xE6\x96\x87 e\xCC\x81 <think>\n\n 12";
    int32_t *ids;
    size_t count;
    char *back;
    if (dlx_tokenizer_encode(t, text, sizeof text - 1, DLX_ENCODE_SPECIAL, &ids, &count, &e) == DLX_OK) {
        assert_ok(dlx_tokenizer_decode(t, ids, count, false, &back, NULL, err));
        free(back);
        free(ids);
    }
    dlx_tokenizer_close(t);
    return true;
}

static void test_truncated(void **state)
{
    (void)state;
    size_t n;
    uint8_t *packed = pack_family("sdar", &n);
    assert_true(try_bytes(packed, n));
    for (size_t i = 0; i < n; i += i < 2000 ? 1 : 97) assert_false(try_bytes(packed, i));
    uint8_t *longer = malloc(n + 4);
    assert_non_null(longer);
    memcpy(longer, packed, n);
    memset(longer + n, 0, 4);
    assert_false(try_bytes(longer, n + 1));
    assert_false(try_bytes(longer, n + 4));
    free(longer);
    free(packed);
}

/* Each number of the header with values that cannot be. */
static void test_header(void **state)
{
    (void)state;
    static const uint32_t values[] = {0,          7,        0x7FFFFFFF,     0x80000000, 0xFFFFFFFE,
                                      0xFFFFFFFF, 1u << 21, (1u << 21) + 1, 1u << 30};
    size_t n;
    uint8_t *packed = pack_family("sdar", &n);
    for (size_t at = 0; at < DLX_PACKED_HEADER; at += 4) {
        uint32_t old = get_u32(packed + at);
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
            bool allowed = (at == 12 && values[i] == 0) ||                                                /* no NFC */
                           (at == 24 && (values[i] == 0 || values[i] == 7 || values[i] == 0xFFFFFFFF)) || /* mask */
                           values[i] == old;
            put_u32(packed + at, values[i]);
            if (try_bytes(packed, n) != allowed) fail_msg("field %zu = %u", at, values[i]);
        }
        put_u32(packed + at, old);
    }
    free(packed);
}

static void test_changed_sections(void **state)
{
    (void)state;
    size_t n;
    uint8_t *packed = pack_family("sdar", &n);
    uint32_t size = get_u32(packed + 28), bytes = get_u32(packed + 40), merges = get_u32(packed + 32);
    size_t kind = DLX_PACKED_HEADER + 1024, length = kind + (size + 3) / 4 * 4;
    size_t text = length + (2 * (size_t)size + 3) / 4 * 4, merge = text + (bytes + 3) / 4 * 4;
    size_t added = merge + 12 * (size_t)merges;
    const struct {
        size_t at;
        uint8_t value;
    } changes[] = {
        {DLX_PACKED_HEADER, 99}, /* a byte's token */
        {kind + 3, 0},           /* a token of no kind with bytes */
        {kind + 3, 2},           /* added, but not in the list */
        {kind + 3, 4},           /* special, but not added */
        {kind + 3, 16},          /* no such kind */
        {kind + size - 1, 1},    /* listed, but not added */
        {length + 1, 200},       /* too long */
        {length, 2},             /* lengths do not add up */
        {text, 'x'},             /* another byte */
        {merge, 99},             /* merges of other tokens */
        {merge + 4, 99},
        {merge + 8, 99},
        {merge + 2, 255},               /* far outside the vocabulary */
        {added, 0},                     /* the id of another token */
        {added + 4, 0},                 /* an empty text */
        {added + 7, 255},               /* reaches past the texts */
        {added + 8 * 2, packed[added]}, /* twice the same id */
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        uint8_t old = packed[changes[i].at];
        assert_int_not_equal(old, changes[i].value);
        packed[changes[i].at] = changes[i].value;
        if (try_bytes(packed, n)) fail_msg("change %zu is accepted", i);
        packed[changes[i].at] = old;
    }
    assert_true(try_bytes(packed, n));
    free(packed);
}

static void test_flipped_bits(void **state)
{
    (void)state;
    uint64_t random = 7;
    size_t n;
    uint8_t *packed = pack_family("dream", &n);
    for (int round = 0; round < 4000; round++) {
        size_t at = next_random(&random) % n, other = next_random(&random) % n;
        uint8_t a = (uint8_t)(1u << next_random(&random) % 8), b = (uint8_t)(round & 1 ? next_random(&random) : 0);
        packed[at] ^= a;
        packed[other] ^= b;
        try_bytes(packed, n);
        packed[other] ^= b;
        packed[at] ^= a;
    }
    assert_true(try_bytes(packed, n));
    free(packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded_files),   cmocka_unit_test(test_truncated),    cmocka_unit_test(test_header),
        cmocka_unit_test(test_changed_sections), cmocka_unit_test(test_flipped_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
