/* Written by scripts/golden: mrff. */
static const float golden_mrff_0_logits[] = {
		1.18769634f, -0.0545011312f, -0.499575257f, 0.0114097595f, -0.14478828f, 0.630420506f, 1.07644856f,
		0.499988019f, 0.655127227f, 0.664478779f
};
static const float golden_mrff_1_logits[] = {
		1.07482982f, -0.00786072016f, -0.608786941f, 1.83031356f, 0.642275989f, 0.279052645f, 0.461228073f,
		-0.901177526f, -0.711497188f, -0.206718579f
};
static const float golden_mrff_2_logits[] = {
		1.18769634f, 0.109611072f, -0.569206715f, 1.98257303f, 0.633681417f, 0.630420506f, 1.07644856f,
		-0.533786654f, -0.317504704f, 0.19443965f
};
static const GoldenMrff golden_mrff[] = {
	{3, 1, 0, 0, golden_mrff_0_logits, 6.63077211, 19.211565},
	{2, 0, 1, 1, golden_mrff_1_logits, 6.45017052, 20.5766335},
	{1, 1, 1, 0, golden_mrff_2_logits, 6.47011709, 20},
	{0}
};
