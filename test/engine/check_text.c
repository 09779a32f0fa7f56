/*
 * check_text.c
 *	  Words of texts, their signs, and bags of terms.
 */
#include "check.h"

#include "model/data/bag.h"
#include "model/data/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- words */

typedef struct Joined
{
	size_t		bytes;
	char		text[4096];
} Joined;

static void
join(void *argument, const char *word, size_t bytes)
{
	Joined	   *joined = argument;

	if (joined->bytes + bytes + 2 > sizeof(joined->text))
		return;
	memcpy(joined->text + joined->bytes, word, bytes);
	joined->bytes += bytes;
	joined->text[joined->bytes++] = '|';
	joined->text[joined->bytes] = '\0';
}

static void
check_words_of(const char *text, size_t bytes, int64_t max, const char *expected)
{
	Joined		joined = {0};
	int64_t		count = 0;
	int64_t		given = fmoe_text_words(check_host(), text, bytes, max, join, &joined);

	for (const char *c = expected; *c != '\0'; c++)
		count += *c == '|';
	CHECK(strcmp(joined.text, expected) == 0, "\"%s\" becomes %s, not %s", text, joined.text, expected);
	CHECK(given == count, "%lld words are told of %s", (long long) given, expected);
}

static void
check_words(void)
{
	static const char *const known[][2] = {
		{"", ""},
		{" ,.!-- ", ""},
		{"The Lord-of the  RINGS_2", "the|lord|of|the|rings|2|"},
		{"a", "a|"},
		{"Crème BRÛLÉE, Ärger; straße", "crème|brûlée|ärger|straße|"},
		{"ΑΘΗΝΑ \u1f08θῆναι Ώρα", "αθηνα|\u1f00θῆναι|ώρα|"},
		{"МОСКВА Ёлка ЇЖАК Ѣ Ѡ", "москва|ёлка|їжак|ѣ|ѡ|"},
		{"ªµº 5² §7 «x» 10\u00a0km", "ªµº|5|7|x|10|km|"},
		{"don\u2019t well\u2014known \u20ac5", "don|t|well|known|\u20ac5|"},
		{"القهوة العربية، قهوة", "القهوة|العربية،|قهوة|"},
		{"日本語", "日本|本語|"},
		{"茶", "茶|"},
		{"抹茶ラテ Latte 茶", "抹茶|茶ラ|ラテ|latte|茶|"},
		{"東京\u3002大阪\u3001京都", "東京|大阪|京都|"},
		{"USBケーブル3m", "usb|ケー|ーブ|ブル|3m|"},
		{"한국어 책", "한국|국어|책|"},
		{"ｱｲｽ！茶", "ｱｲ|ｲｽ|茶|"},
		{"\U00020000\U00020001x", "\U00020000\U00020001|x|"},
		{"\U0001F600 fun", "\U0001F600|fun|"},
		{"ŁÓDŹ", "ŁódŹ|"}
	};

	check_begin("words are the recipe's in every script");
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		check_words_of(known[i][0], strlen(known[i][0]), -1, known[i][1]);
	check_words_of("one two three", 13, 2, "one|two|");
	check_words_of("日本語", 9, 1, "日本|");
	check_words_of("one", 3, 0, "");
	check_end();
}

static void
check_invalid(void)
{
	char		bytes[2048];
	char		word[512];
	char		long_word[300];
	Joined		joined = {0};

	check_begin("what is no UTF-8 counts as Latin-1, and nothing reads beyond the end");
	check_words_of("caf\xE9 \xFF!", 7, -1, "café|ÿ|");
	check_words_of("\xC3", 1, -1, "ã|");
	check_words_of("\xE6\x97", 2, -1, "æ|");
	check_words_of("\xC0\xAF\xED\xA0\x80\xF5", 6, -1, "à|í|õ|");
	CHECK(!fmoe_text_valid("\xED\xA0\x80", 3) && !fmoe_text_valid("\xC0\xAF", 2) && !fmoe_text_valid("a\0", 2) &&
		  !fmoe_text_valid("\xF4\x90\x80\x80", 4) && fmoe_text_valid("\xF4\x8F\xBF\xBF", 4) &&
		  fmoe_text_valid("\xC3\xA9", 2) && fmoe_text_valid("", 0), "valid and not");
	for (int round = 0; round < 2000; round++)
	{
		int			n = 1 + (int) fnn_random_below(3, 1, (uint64_t) round, 60);
		char	   *exact = malloc((size_t) n);

		for (int i = 0; i < n; i++)
			exact[i] = (char) fnn_random_bits(3, 2, (uint64_t) (round * 64 + i));
		joined.bytes = 0;
		(void) fmoe_text_words(check_host(), exact, (size_t) n, -1, join, &joined);
		CHECK(fmoe_text_valid(joined.text, joined.bytes), "words of random bytes are no UTF-8");
		CHECK(fmoe_text_valid(word, fmoe_text_term(exact, (size_t) n, word)), "a term of them is none");
		free(exact);
	}
	check_end();

	check_begin("long words and terms are cut between characters");
	memset(bytes, 'x', sizeof(bytes));
	memset(long_word, 'x', 254);
	strcpy(long_word + 254, "|");
	memcpy(bytes + 254, "\xC3\xA9", 2);
	check_words_of(bytes, sizeof(bytes), -1, long_word);
	CHECK(fmoe_text_term(bytes, sizeof(bytes), word) == 254, "a term has %zu bytes",
		  fmoe_text_term(bytes, sizeof(bytes), word));
	check_end();

	check_begin("a term is a text as it stands, without spaces around it");
	CHECK(fmoe_text_term(" \t Home & Garden\n", 17, word) == 13 && memcmp(word, "Home & Garden", 13) == 0, "trimmed");
	CHECK(fmoe_text_term("\xE3\x80\x80\xE8\x8C\xB6\xC2\xA0", 8, word) == 3 && memcmp(word, "\xE8\x8C\xB6", 3) == 0,
		  "trimmed of wide spaces");
	CHECK(fmoe_text_term(" \n ", 3, word) == 0 && fmoe_text_term("", 0, word) == 0, "empty");
	CHECK(fmoe_text_term("\xE9t\xE9", 3, word) == 5 && memcmp(word, "\xC3\xA9t\xC3\xA9", 5) == 0, "Latin-1");
	check_end();
}

/* ---------------------------------------------------------------- signs */

static int
sum_of_signs(const char *word, uint64_t *first)
{
	uint64_t	sign[FMOE_TEXT_SIGNS / 64];
	int			sum = 0;

	fmoe_text_signs(word, strlen(word), sign);
	for (int i = 0; i < FMOE_TEXT_SIGNS; i++)
		sum += (sign[i / 64] >> i % 64 & 1) != 0 ? 1 : -1;
	*first = sign[0];
	return sum;
}

static void
check_signs(void)
{
	static const char golden[] = "-++-----" "--+-+++-";
	uint64_t	sign[FMOE_TEXT_SIGNS / 64];
	uint64_t	first;
	int			sum;

	check_begin("signs of words are those of every machine");
	sum = sum_of_signs("shampoo", &first);
	CHECK(sum == 16 && first == UINT64_C(0x47d60a5cf3c97406), "shampoo: %d, %llx", sum, (unsigned long long) first);
	sum = sum_of_signs("36", &first);
	CHECK(sum == 32 && first == UINT64_C(0x20e023a391fdd5a3), "36: %d, %llx", sum, (unsigned long long) first);
	fmoe_text_signs("shampoo", 7, sign);
	for (int i = 0; i < 16; i++)
		CHECK((sign[0] >> i & 1) == (golden[i] == '+'), "sign %d of shampoo", i);
	check_end();
}

/* ---------------------------------------------------------------- bags */

#define ROWS 40
#define WORDS 3000

/* How often the word of a number was added to a row; some rows have none. */
static int
times(int row, int word)
{
	uint64_t	bits = fnn_random_bits(9, (uint64_t) row, (uint64_t) word);

	return row % 7 == 3 || bits % 19 != 0 ? 0 : 1 + (int) (bits / 19 % 4);
}

static size_t
name_of(int word, char *out)
{
	/* some are the beginning of others, and some are far longer than what is compared first */
	return (size_t) sprintf(out, "%s%d%s", word % 3 == 0 ? "common beginning " : "", word, word % 5 == 0 ? "é" : "");
}

/* Adds all words of all rows, each row's in several turns, forwards or backwards. */
static FmoeBag *
filled_bag(const int32_t *place, bool backwards)
{
	FmoeBag    *bag = fmoe_bag_create(check_host());
	char		name[64];

	for (int step = 0; step < WORDS * ROWS; step++)
	{
		int			at = backwards ? WORDS * ROWS - 1 - step : step;
		int			row = at % ROWS;
		int			word = at / ROWS;

		for (int k = times(row, word); k > 0; k--)
			fmoe_bag_add(bag, place != NULL ? place[row] : row, name, name_of(word, name));
	}
	return bag;
}

static void
check_bag_against_counts(const FmoeFeature *feature)
{
	int32_t    *term = fnn_alloc(check_arena(), sizeof(int32_t) * WORDS);
	char		name[64];

	for (int word = 0; word < WORDS; word++)
	{
		int			rows = 0;

		term[word] = fmoe_feature_term(feature, name, name_of(word, name));
		for (int row = 0; row < ROWS; row++)
			rows += times(row, word) > 0;
		CHECK(rows == 0 ? term[word] == -1
			  : term[word] >= 0 && check_close(feature->scale[term[word]], log((ROWS + 1.0) / rows), 1e-6),
			  "word %d is in %d rows, its term is %d", word, rows, (int) term[word]);
	}
	for (int row = 0; row < ROWS; row++)
	{
		int64_t		n = 0;

		for (int word = 0; word < WORDS; word++)
		{
			int64_t		k = feature->offset[row];

			if (times(row, word) == 0)
				continue;
			n++;
			while (k < feature->offset[row + 1] && feature->term[k] != term[word])
				k++;
			CHECK(k < feature->offset[row + 1] && check_close(feature->weight[k], 1 + log(times(row, word)), 1e-6),
				  "word %d of row %d", word, row);
		}
		CHECK(feature->offset[row + 1] - feature->offset[row] == n, "row %d has %lld terms of %lld", row,
			  (long long) (feature->offset[row + 1] - feature->offset[row]), (long long) n);
	}
}

static void
check_bags(void)
{
	FmoeFeatures features = {.n = ROWS, .count = 2};
	FmoeFeatures back;
	FnnArray	arrays[16];
	int32_t		place[ROWS];
	int32_t		back_to[ROWS];
	const FmoeFeature *a;
	const FmoeFeature *b;
	int			n;
	FmoeBag    *bag;

	for (int i = 0; i < ROWS; i++)
	{
		place[i] = (i * 7 + 3) % ROWS;
		back_to[place[i]] = i;
	}
	check_begin("a bag counts what was added, whenever it was");
	bag = filled_bag(NULL, false);
	CHECK(fmoe_bag_bytes(bag, ROWS) > 0 && !fmoe_bag_empty(bag), "it takes no memory");
	features.feature[0] = (FmoeFeature) {.name = "text", .modality = FMOE_TEXT};
	features.feature[1] = (FmoeFeature) {.name = "again", .modality = FMOE_TEXT};
	fmoe_bag_feature(bag, &features.feature[0], ROWS, NULL, true, NULL);
	fmoe_bag_feature(filled_bag(place, true), &features.feature[1], ROWS, back_to, true, NULL);
	n = fmoe_features_arrays(&features, FMOE_OF_ITEMS, arrays, 16);
	fmoe_features_bind(&back, check_host(), FMOE_OF_ITEMS, ROWS, n, arrays, true);
	a = fmoe_feature(&back, "text");
	b = fmoe_feature(&back, "again");
	check_bag_against_counts(a);
	for (int i = 0; i < n / 2; i++)
		CHECK(arrays[i].bytes == arrays[n / 2 + i].bytes &&
			  memcmp(arrays[i].data, arrays[n / 2 + i].data, arrays[i].bytes) == 0,
			  "array \"%s\" depends on the order of rows", arrays[i].name);
	for (int64_t k = 0; k + 1 < a->offset[ROWS]; k++)
		CHECK(a->term[k] < a->term[k + 1] || b->offset[ROWS] == 0 || a->term[k + 1] < a->width, "terms ascend");
	check_end();

	check_begin("a bag that is not counted has no weights, and an empty one no terms");
	bag = fmoe_bag_create(check_host());
	CHECK(fmoe_bag_empty(bag), "a new bag is not empty");
	fmoe_bag_add(bag, 1, "b", 1);
	fmoe_bag_add(bag, 1, "b", 1);
	fmoe_bag_add(bag, 0, "a", 1);
	features.feature[0] = (FmoeFeature) {.name = "category_1", .modality = FMOE_CATEGORY};
	fmoe_bag_feature(bag, &features.feature[0], 3, NULL, false, NULL);
	a = &features.feature[0];
	CHECK(a->weight == NULL && a->width == 2 && a->offset[3] == 2 && a->offset[2] == 2 && a->offset[1] == 1 &&
		  a->term[0] == 0 && a->term[1] == 1 && check_close(a->scale[0], log(4.0), 1e-6), "not what was added");
	check_end();

	check_begin("a bag has the terms of another, and leaves others out");
	bag = fmoe_bag_create(check_host());
	fmoe_bag_add(bag, 3, "c", 1);
	fmoe_bag_add(bag, 3, "b", 1);
	fmoe_bag_add(bag, 0, "b", 1);
	fmoe_bag_add(bag, 2, "bb", 2);
	features.feature[1] = (FmoeFeature) {.name = "category_1", .modality = FMOE_CATEGORY};
	fmoe_bag_feature(bag, &features.feature[1], 4, NULL, false, a);
	b = &features.feature[1];
	CHECK(b->width == 2 && b->name_bytes == a->name_bytes && b->scale == a->scale && b->offset[4] == 2 &&
		  b->offset[1] == 1 && b->offset[3] == 1 && b->term[0] == 1 && b->term[1] == 1, "not what they share");
	fmoe_bag_feature(fmoe_bag_create(check_host()), &features.feature[1], 4, NULL, true, a);
	CHECK(b->width == 2 && b->offset[4] == 0 && b->weight != NULL, "an empty bag is not empty");
	check_end();
}

void
check_text(void)
{
	check_words();
	check_invalid();
	check_signs();
	check_bags();
}
