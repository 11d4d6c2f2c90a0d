"""Recipes: what they hold, how fields are set from text, and what is refused."""

import importlib
import itertools
import shlex

import pytest

from verydeep.errors import ArchitectureError, RecipeError
from verydeep.recipes import RECIPES, load_recipe, segment
from verydeep.train.optimize import learning_rate
from verydeep.train.recipe import Recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_loads_and_survives_the_way_through_json(name):
    recipe = load_recipe(name)
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_the_paper_recipe_has_the_papers_settings():
    recipe = load_recipe("paper")
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay, recipe.dropout) == (256, 0.9, 5e-4, 0.5)
    assert (recipe.learning_rate, recipe.drops, recipe.schedule) == (1e-2, 3, "plateau")
    assert recipe.epochs * 1_281_167 / 256 == pytest.approx(370_000, rel=0.002)  # section 3.1: 370K iterations
    assert recipe.train_scales == (256, 512)
    assert recipe.architecture(1000).name == "D"
    mean_only = recipe.preprocessing
    assert [1 / std for std in mean_only.std] == pytest.approx([255] * 3)


@pytest.mark.parametrize("name", RECIPES)
def test_the_commands_above_a_recipe_are_of_that_recipe_and_its_fields(name):
    told = importlib.import_module(f"verydeep.recipes.{name}").__doc__
    commands = [shlex.split(line) for line in told.splitlines() if line.startswith("verydeep train ")]
    assert commands
    for words in commands:
        options = list(itertools.pairwise(words))
        assert ("--recipe", name) in options or name == "finetune"  # that of --from
        load_recipe(name).with_settings(dict(text.split("=") for option, text in options if option == "--set"))


def test_the_published_training_of_segnet_basic_can_be_asked_for():
    (line,) = [line for line in segment.__doc__.splitlines() if line.startswith("verydeep train CAMVID")]
    options = itertools.pairwise(shlex.split(line))
    chosen = load_recipe("segment").with_settings(dict(text.split("=") for name, text in options if name == "--set"))
    assert (chosen.batch_size, chosen.momentum, chosen.nesterov) == (12, 0.9, False)  # section 3.3
    assert {learning_rate(chosen, epoch, []) for epoch in (0.01, 1, 59, 60)} == {0.1}
    assert (chosen.class_weights, chosen.initialization) == ("balanced", "he")
    widths = {layer.out_channels for layer in chosen.architecture(11).layers[:-1]}
    assert widths == {64}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("epochs=3", 3),
        ("learning_rate=1e-3", 1e-3),
        ("nesterov=no", False),
        ("train_areas=none", None),
        ("train_areas=0.5,1", (0.5, 1.0)),
        ("configuration=B", "B"),
        ("fit=letterbox", "letterbox"),
        ("precision=float32", "float32"),
        ("pixel_std=1,1,1", (1.0, 1.0, 1.0)),
    ],
)
def test_a_field_is_set_from_text_by_its_type(text, value):
    name, setting = text.split("=")
    assert getattr(load_recipe("modern").with_settings({name: setting}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("epochs", "many", "epochs=many is not a whole number"),
        ("epochs", "3.5", "not a whole number"),
        ("epochs", "0", "epochs is 0; expected 1 to"),
        ("learning_rate", "-1", "learning_rate is -1"),
        ("learning_rate", "nan", "learning_rate is nan"),
        ("flip", "maybe", "not true or false"),
        ("schedule", "linear", "not cosine or plateau or constant"),
        ("train_areas", "0.5", "not 2 values separated by commas or none"),
        ("train_areas", "0.9,0.1", "two growing shares"),
        ("train_scales", "128,256", "two ways of the same"),
        ("train_border", "0.1", "train_border goes with train_scales only.* Set it to 0"),
        ("train_border", "0.6", "train_border is 0.6; expected 0 to 0.5"),
        ("fit", "stretch", "fit=stretch is not crop or letterbox or squash"),
        ("speed", "fast", "no field speed"),
        ("test_crop", "500", "test_crop is 500"),
        ("first_size", "80", "first_size is 80; expected a multiple of 32"),
        ("first_size", "8", "first_size is 8; expected a multiple of 32.* Take 32."),
        ("first_size", "0", "first_size is 0; expected 1 to"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_sentence(name, text, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("modern").with_settings({name: text})


def test_pictures_that_grow_do_not_go_with_a_plateau():
    message = "first_size does not go with schedule=plateau.* Set first_size=none, or schedule=cosine"
    with pytest.raises(RecipeError, match=message):
        load_recipe("modern").with_settings({"first_size": "96", "schedule": "plateau"})


def test_two_ways_to_change_colours_are_refused():
    with pytest.raises(RecipeError, match="both change colours.* Set one of them to 0 or false"):
        load_recipe("paper").with_settings({"trivial_augment": "yes"})


def test_a_letterbox_has_no_border_beside():
    with pytest.raises(RecipeError, match="both add to a photo's sides.* Set train_border=0"):
        Recipe(train_scales=(128, 160), train_border=0.1, fit="letterbox")


def test_the_fit_goes_to_validation_and_to_training():
    recipe = load_recipe("modern").with_settings({"fit": "letterbox"})
    assert recipe.preprocessing.fit == recipe.augmentation.fit == recipe.view_augmentation.fit == "letterbox"
    assert recipe.augmentation.fill == (124, 116, 104)
    assert recipe.at(96).preprocessing.fit == "letterbox"


@pytest.mark.parametrize(
    ("first", "full", "epochs", "sizes"),
    [
        (None, 128, 3, [128, 128, 128]),
        (128, 128, 2, [128, 128]),
        (96, 64, 2, [64, 64]),  # as with `--set input_size=64` and nothing else
        (96, 128, 6, [96, 96, 96, 128, 128, 128]),
        (64, 128, 6, [64, 96, 96, 128, 128, 128]),
        (32, 128, 12, [32] * 2 + [64] * 3 + [96] * 2 + [128] * 5),
        (32, 128, 1, [128]),
    ],
)
def test_pictures_grow_in_steps_of_the_stride_to_the_full_size(first, full, epochs, sizes):
    recipe = Recipe(first_size=first, input_size=full, epochs=epochs, train_scales=(full, 2 * full))
    assert recipe.sizes == sizes
    assert [(a.crop, a.scales) for a in recipe.augmentations] == [(size, (size, 2 * size)) for size in sizes]


@pytest.mark.parametrize(
    ("size", "scales", "test_resize", "test_crop"),
    [(128, (128, 256), 182, 160), (96, (96, 192), 146, 128), (64, (64, 128), 73, 64), (32, (32, 64), 36, 32)],
)
def test_at_another_size_photos_are_scaled_and_cropped_in_proportion(size, scales, test_resize, test_crop):
    recipe = Recipe(first_size=32, input_size=128, train_scales=(128, 256), test_resize=182, test_crop=160).at(size)
    assert (recipe.input_size, recipe.first_size, set(recipe.sizes)) == (size, None, {size})
    assert (recipe.train_scales, recipe.test_resize, recipe.test_crop) == (scales, test_resize, test_crop)


@pytest.mark.parametrize(
    ("first", "epochs", "words"),
    [(32, 12, "32 to 128 pixels"), (None, 12, "128 pixels"), (32, 1, "128 pixels"), (160, 12, "128 pixels")],
)
def test_the_sizes_in_words_are_those_that_the_training_has(first, epochs, words):
    assert Recipe(first_size=first, input_size=128, epochs=epochs).sizes_in_words == words


def test_pictures_do_not_grow_below_a_layer_that_fits_one_size():
    with pytest.raises(RecipeError, match="first_size goes with head=gap only, the head is fc"):
        Recipe(head="fc", first_size=96, input_size=128, test_resize=128)


def test_a_network_that_cannot_be_is_refused_before_the_training():
    with pytest.raises(ArchitectureError, match="32 pixels or more"):
        load_recipe("modern").with_settings({"input_size": "16"})
    with pytest.raises(ArchitectureError, match="128 x 128 only"):
        load_recipe("modern").with_settings({"head": "fc"})  # tested at 160 pixels, where fc6 does not fit
    with pytest.raises(ArchitectureError, match="no configuration 'Z'"):
        load_recipe("modern").with_settings({"configuration": "Z"})


def test_an_unknown_recipe_is_refused_with_the_list():
    with pytest.raises(RecipeError, match=r"no recipe 'best'; there are modern, paper, small"):
        load_recipe("best")


def test_fields_that_an_older_version_did_not_know_have_their_defaults_and_unknown_ones_are_refused():
    fields = Recipe(epochs=3).to_dict()
    del fields["initial_std"]
    assert Recipe.from_dict(fields) == Recipe(epochs=3)
    with pytest.raises(RecipeError, match="no field new"):
        Recipe.from_dict(fields | {"new": 1})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schedule": "linear"}, "schedule is 'linear'; expected cosine or plateau or constant"),
        ({"epochs": 2.5}, "epochs is 2.5; expected a whole number"),
        ({"epochs": "20"}, "epochs is '20'"),
        ({"flip": 1}, "flip is 1; expected true or false"),
        ({"train_scales": (16,)}, "train_scales is"),
        ({"save_as": "int8"}, "save_as is 'int8'"),
        ({"head": "conv"}, "dense view of fc"),
        ({"initial_std": 0.1}, "initialization=paper only"),
    ],
)
def test_a_value_of_a_wrong_type_or_meaning_is_refused_where_the_recipe_is_made(fields, message):
    with pytest.raises(RecipeError, match=message):
        Recipe(**fields)


def test_a_whole_number_serves_as_a_number():
    assert Recipe(momentum=0, learning_rate=1).momentum == 0
