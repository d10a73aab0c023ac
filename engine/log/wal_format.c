#include "engine/base/checksum.h"
#include "engine/base/coding.h"
#include "engine/base/error.h"
#include "engine/log/wal.h"

#include <stdio.h>

static const uint8_t magic[8] = {'K', 'E', 'V', 'O', 'W', 'A', 'L', '\n'};
enum { WAL_FORMAT_VERSION = 1, FLAG_SYNCED_BEFORE = 1, SEAL_OFFSET = 52 };

void wal_segment_name(char name[WAL_NAME_BYTES], uint64_t number) {
    snprintf(name, WAL_NAME_BYTES, "%06llu.wal", (unsigned long long)number);
}

void wal_spare_name(char name[WAL_NAME_BYTES], uint64_t number) {
    snprintf(name, WAL_NAME_BYTES, "%06llu.spare", (unsigned long long)number);
}

/* 0 magic, 8 version, 12 zero, 16 number, 24 salt, 32 uuid, 48 predecessor's batch,
 * 56 its checksum, 64 zero, 72 checksum of all before it. */
void wal_encode_segment_header(uint8_t out[WAL_SEGMENT_HEADER_BYTES],
                               const struct wal_segment_header *h) {
    memset(out, 0, WAL_SEGMENT_HEADER_BYTES);
    memcpy(out, magic, sizeof magic);
    put_fixed32(out + 8, WAL_FORMAT_VERSION);
    put_fixed64(out + 16, h->number);
    put_fixed64(out + 24, h->salt);
    memcpy(out + 32, h->uuid, 16);
    put_fixed64(out + 48, h->before.batch);
    put_fixed64(out + 56, h->before.checksum);
    put_fixed64(out + 72, checksum64(out, 72, 0));
}

int wal_decode_segment_header(const uint8_t in[WAL_SEGMENT_HEADER_BYTES],
                              struct wal_segment_header *h, const char *path,
                              struct kevo_err *err) {
    bool whole =
        memcmp(in, magic, sizeof magic) == 0 && get_fixed64(in + 72) == checksum64(in, 72, 0);
    uint32_t format = get_fixed32(in + 8);
    if (whole && format > WAL_FORMAT_VERSION)
        return kevo_newer(err, path, format, WAL_FORMAT_VERSION);
    if (!whole || format != WAL_FORMAT_VERSION || get_fixed32(in + 12) != 0 ||
        get_fixed64(in + 64) != 0)
        return kevo_fail(err, KEVO_CORRUPT, "%s: the header is damaged", path);
    h->number = get_fixed64(in + 16);
    h->salt = get_fixed64(in + 24);
    memcpy(h->uuid, in + 32, 16);
    h->before = (struct wal_link){get_fixed64(in + 48), get_fixed64(in + 56)};
    return 0;
}

/* Tells headers from other bytes without a look at the payload, which may be long: where
 * the log ends, every sector of what follows is looked at. */
static uint32_t header_seal(const uint8_t *record, uint64_t salt) {
    return checksum32(record + 8, SEAL_OFFSET - 8, salt);
}

/* 0 checksum, 8 payload bytes, 16 batch, 24 nonce, 32 predecessor's batch, 40 its
 * checksum, 48 type, 49 flags, 50 zero, 52 seal, 56 payload. */
void wal_encode_record_header(uint8_t *record, struct wal_record_header *h, uint64_t salt) {
    put_fixed64(record + 8, h->payload_bytes);
    put_fixed64(record + 16, h->commit.batch);
    put_fixed64(record + 24, h->commit.nonce);
    put_fixed64(record + 32, h->previous.batch);
    put_fixed64(record + 40, h->previous.checksum);
    memset(record + 48, 0, 4);
    record[48] = h->type;
    record[49] = h->synced_before ? FLAG_SYNCED_BEFORE : 0;
    put_fixed32(record + SEAL_OFFSET, header_seal(record, salt));
    h->checksum = wal_record_checksum(record, h->payload_bytes, salt);
    put_fixed64(record, h->checksum);
}

bool wal_decode_record_header(const uint8_t *record, struct wal_record_header *h, uint64_t salt) {
    h->checksum = get_fixed64(record);
    h->payload_bytes = get_fixed64(record + 8);
    h->commit = (struct kevo_commit){get_fixed64(record + 16), get_fixed64(record + 24)};
    h->previous = (struct wal_link){get_fixed64(record + 32), get_fixed64(record + 40)};
    h->type = record[48];
    h->synced_before = record[49] & FLAG_SYNCED_BEFORE;
    h->strange = h->type < WAL_BATCH || h->type > WAL_TABLES ||
                 (record[49] & ~FLAG_SYNCED_BEFORE) != 0 || record[50] || record[51] ||
                 (h->type == WAL_VOID) != (h->commit.nonce == 0);
    return get_fixed32(record + SEAL_OFFSET) == header_seal(record, salt);
}

uint64_t wal_record_checksum(const uint8_t *record, uint64_t payload_bytes, uint64_t salt) {
    return checksum64(record + 8, WAL_RECORD_HEADER_BYTES - 8 + payload_bytes, salt);
}

void wal_encode_void(uint8_t payload[WAL_VOID_BYTES], struct kevo_commit keep) {
    put_fixed64(payload, keep.batch);
    put_fixed64(payload + 8, keep.nonce);
}

bool wal_decode_void(slice payload, struct kevo_commit *keep) {
    if (payload.len != WAL_VOID_BYTES) return false;
    *keep = (struct kevo_commit){get_fixed64(payload.data), get_fixed64(payload.data + 8)};
    return true;
}
