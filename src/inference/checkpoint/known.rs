//! The keys of a `config.json` that are known: read here, or sure to change no number of a network that is run.
//!
//! A key that a later version of a family brings in may change the maths; a network that is nearly right answers nonsense without
//! an error. So a key that is not known is an error, unless its value says that it is off. Keys of transformers 4.57 and
//! 5 are all in the lists (`tests/fixtures/config_keys.json`), and those of older versions and of tools that add their own.

use serde_json::Value;

/// Of no family in particular: what a checkpoint is called, how it is trained, how its texts are generated, what is returned.
const COMMON: &str = "
    architectures model_type transformers_version auto_map tokenizer_class processor_class tokenizer_config base_model base_model_name
    torch_dtype dtype torchscript tf_legacy_loss use_bfloat16 xla_device model_parallel device_map language languages lang license name
    id2label label2id num_labels num_classes problem_type finetuning_task task_specific_params custom_pipelines task tasks label_names dataset
    threshold backbone transformers.js_config is_llama_config sbert_ce_default_activation_function base_model_name_or_path
    finetuned_from author pipeline_tag datasets loss_type loss_function use_peft
    add_cross_attention is_decoder is_encoder_decoder cross_attention_hidden_size tie_encoder_decoder tie_word_embeddings
    chunk_size_feed_forward pruned_heads vocab_size hidden_size keys_to_ignore_at_inference attn_implementation use_flash_attention_2
    return_dict return_dict_in_generate use_return_dict use_cache remove_invalid_values
    bad_words_ids begin_suppress_tokens suppress_tokens diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size
    exponential_decay_length_penalty length_penalty max_length max_new_tokens min_length min_new_tokens no_repeat_ngram_size
    num_beam_groups num_beams num_return_sequences prefix repetition_penalty temperature top_k top_p typical_p
    force_bos_token_to_be_generated generation_config model_max_length max_seq_length max_seq_len sentence_transformers
    gradient_checkpointing pretraining_tp quantization_config position_embedding_type
    bos_token eos_token pad_token unk_token sep_token cls_token mask_token
    output_attentions output_hidden_states output_past output_scores output_logits output_router_logits output_dir
    init_std init_range init_method init_device init_factor init_xavier_std initializer_range initializer_factor
    initializer_cutoff_factor
    _name_or_path _commit_hash _num_labels _from_model_config _from_auto _auto_class _fast_init __version__ _class_name
    _attn_implementation _attn_implementation_autoset _attn_implementation_internal _flash_attn_2_enabled _sliding_window_pattern
    _experts_implementation _original_object_hash _output_attentions
";
/// What tools write beside that: lengths of texts, how a network is loaded, how it was trained.
const OF_TOOLS: &str = "
    max_sequence_length max_seq_len_cached tokenizer_model_max_length tokenizer_padding_side padding_side truncation_side tokenizer_name
    tokenizer_name_or_path model_name model_name_or_path model_id base_model_id hf_device_map vocab_file merges_file
    use_flash_attn use_flash_attention flash_attention use_sdpa use_sdpa_attention use_fused_rope use_fused_cross_entropy
    params_dtype param_dtype compute_dtype model_dtype bnb_4bit_compute_dtype fp16 bf16 tf32 precision
    gradient_checkpointing_kwargs gradient_checkpointing_use_reentrant gradient_accumulation_steps use_reentrant
    learning_rate weight_decay warmup_steps warmup_ratio num_epochs num_train_epochs batch_size train_batch_size eval_batch_size
    max_steps max_grad_norm optimizer optim lr_scheduler_type label_smoothing label_smoothing_factor seed random_seed
    training_args training_steps training_data training_precision save_steps save_total_limit class_weights
    aux_loss_weight mtp_loss_weight router_aux_loss_coef
    freeze_base freeze_base_model freeze_backbone freeze_embeddings freeze_encoder freeze_layers freeze_mm_mlp_adapter
";

/// Of a tool that marks what it adds.
const BEGINNINGS: [&str; 1] = ["unsloth_"];
/// Of training and of special tokens, in whatever family.
const ENDINGS: [&str; 8] =
    ["dropout", "dropout_prob", "dropout_rate", "_pdrop", "layerdrop", "drop_path_rate", "token_id", "token_ids"];

/// Of the networks with BERT's layers.
const BERTS: &str = "
    hidden_act intermediate_size layer_norm_eps max_position_embeddings num_attention_heads num_hidden_layers type_vocab_size
    embedding_size inner_group_num num_hidden_groups down_scale_factor gap_size net_structure_type num_memory_blocks
    summary_activation summary_type summary_use_proj relative_attention_num_buckets
    activation dim hidden_dim n_heads n_layers sinusoidal_pos_embds tie_weights_ emb_size cell structure
    directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type
";
const DEBERTA: &str = "
    hidden_act intermediate_size layer_norm_eps max_position_embeddings num_attention_heads num_hidden_layers type_vocab_size legacy
    max_relative_positions pooler_hidden_act pooler_hidden_size pos_att_type position_biased_input relative_attention position_buckets
    share_att_key norm_rel_ebd conv_act conv_kernel_size conv_groups embedding_size attention_head_size summary_activation summary_type
    summary_use_proj
";
const MODERNBERT: &str = "
    attention_bias classifier_activation classifier_bias classifier_pooling decoder_bias deterministic_flash_attn
    global_attn_every_n_layers global_rope_theta hidden_activation intermediate_size layer_types local_attention local_rope_theta
    max_position_embeddings mlp_bias norm_bias norm_eps layer_norm_eps num_attention_heads num_hidden_layers position_embedding_type
    reference_compile repad_logits_with_grad rope_parameters sparse_pred_ignore_index sparse_prediction
";
const XLNET: &str = "
    attn_type bi_data clamp_len d_head d_inner d_model end_n_top ff_activation layer_norm_eps mem_len n_head n_layer n_token
    reuse_len same_length start_n_top summary_activation summary_type summary_use_proj untie_r use_mems use_mems_eval use_mems_train
    num_attention_heads num_hidden_layers max_position_embeddings init
";
const GPT2: &str = "
    activation_function layer_norm_epsilon n_ctx n_embd n_head n_inner n_layer n_positions reorder_and_upcast_attn head_dim
    scale_attn_by_inverse_layer_idx scale_attn_weights summary_activation summary_proj_to_labels summary_type summary_use_proj
    predict_special_tokens n_special
";
/// Of the networks that turn their vectors by position.
const ROTARY: &str = "
    hidden_act hidden_activation intermediate_size max_position_embeddings num_attention_heads num_hidden_layers num_key_value_heads
    head_dim rms_norm_eps layer_norm_eps attention_bias mlp_bias rope_parameters rope_scaling rope_theta
    rope_local_base_freq original_max_position_embeddings partial_rotary_factor rotary_pct rotary_emb_base layer_types sliding_window
    sliding_window_pattern cache_implementation
";
const GPT_NEOX: &str = "use_parallel_residual";
const QWEN: &str = "max_window_layers use_sliding_window";
const GEMMA: &str = "attn_logit_softcapping final_logit_softcapping query_pre_attn_scalar use_bidirectional_attention hidden_size_per_layer_input";
const PHI: &str = "qk_layernorm full_attn_mod interpolate_factor";
const T5: &str = "
    d_ff d_kv d_model dense_act_fn feed_forward_proj is_gated_act layer_norm_epsilon num_decoder_layers num_heads num_layers
    relative_attention_max_distance relative_attention_num_buckets scale_decoder_outputs n_positions max_position_embeddings
    num_hidden_layers num_attention_heads
";
const BART: &str = "
    activation_function d_model decoder_attention_heads decoder_ffn_dim decoder_layers decoder_vocab_size encoder_attention_heads
    encoder_ffn_dim encoder_layers max_position_embeddings num_hidden_layers scale_embedding share_encoder_decoder_embeddings
    normalize_before normalize_embedding add_final_layer_norm add_bias_logits static_position_embeddings extra_pos_embeddings
    no_cross_attention num_attention_heads
";

/// The lists of a family; none for one that is not run.
fn lists(family: &str) -> Option<&'static [&'static str]> {
    Some(match family {
        "bert" | "distilbert" | "roberta" | "xlm-roberta" | "camembert" | "albert" | "electra" | "mpnet" => &[BERTS],
        "deberta-v2" => &[DEBERTA],
        "modernbert" => &[MODERNBERT],
        "xlnet" => &[XLNET],
        "gpt2" => &[GPT2],
        "gpt_neox" => &[ROTARY, GPT_NEOX],
        "llama" => &[ROTARY],
        "qwen2" | "qwen3" => &[ROTARY, QWEN],
        "gemma" | "gemma2" | "gemma3_text" => &[ROTARY, GEMMA],
        "phi" | "phi3" => &[ROTARY, PHI],
        "t5" => &[T5],
        "bart" | "marian" => &[BART],
        _ => return None,
    })
}

/// Whether a value says that there is nothing.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
    }
}

/// What is wrong with the first key of a configuration that is on and not known.
pub fn objection(config: &Value) -> Option<String> {
    let keys = config.as_object()?;
    let lists = lists(keys.get("model_type")?.as_str()?)?;
    let known = |key: &str| {
        BEGINNINGS.iter().any(|beginning| key.starts_with(beginning))
            || ENDINGS.iter().any(|ending| key.ends_with(ending))
            || lists.iter().chain([&COMMON, &OF_TOOLS]).any(|list| list.split_whitespace().any(|known| known == key))
    };
    let (key, value) = keys.iter().find(|(key, value)| !is_off(value) && !known(key))?;
    let mut said = value.to_string();
    if said.len() > SAID_BYTES {
        said.truncate(said.floor_char_boundary(SAID_BYTES));
        said += " ...";
    }
    Some(format!(
        "`{key}` is {said}, and it is not known here whether it changes what the network computes; where it does not, take the key out \
         of the file, or write null"
    ))
}

/// Of a value that is told.
const SAID_BYTES: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn objection_of(family: &str, key: &str, value: Value) -> Option<String> {
        objection(&json!({ "model_type": family, key: value }))
    }

    /// Would catch: an ordinary folder that is refused. The fixture has every key that a configuration of each family has by
    /// default in transformers 4.57 and 5.24 (`tests/fixtures/config_keys.py`).
    #[test]
    fn keys_of_transformers_are_known() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config_keys.json");
        let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut compared = 0;
        for (family, keys) in document.as_object().unwrap() {
            for key in keys.as_array().unwrap() {
                assert_eq!(objection_of(family, key.as_str().unwrap(), json!(1)), None, "{family}");
                compared += 1;
            }
        }
        assert!(compared > 1_000, "{compared}");
        let all: Vec<&String> = document.as_object().unwrap().keys().collect();
        let ours = crate::inference::network::FAMILIES.iter().chain(crate::inference::seq2seq::FAMILIES).copied();
        let causal = crate::inference::causal::Family::ALL.iter().map(|(name, _)| *name);
        for family in ours.chain(causal) {
            assert!(all.iter().any(|known| *known == family) && lists(family).is_some(), "{family} has no list");
        }
    }

    /// Would catch: a key that is passed over though it may change the maths; one that is off and refused.
    #[test]
    fn a_key_that_is_not_known_is_told_with_its_value() {
        let said = objection_of("llama", "residual_gate", json!({ "kind": "x".repeat(200) })).unwrap();
        assert!(said.starts_with("`residual_gate` is {\"kind\":\"xxx") && said.contains(" ..., and it is not known"), "{said}");
        assert!(objection_of("bert", "attn_logit_softcapping", json!(30.0)).is_some(), "of another family");
        // They begin or end as names of training do.
        for key in ["output_multiplier", "_remove_final_layer_norm", "init_scale_of_residual", "freeze_norm", "residual_dtype"] {
            assert!(objection_of("llama", key, json!(2)).is_some(), "{key}");
        }
        for off in [json!(null), json!(false), json!(0), json!(0.0), json!(""), json!([]), json!({})] {
            assert_eq!(objection_of("llama", "residual_gate", off), None);
        }
        for (family, key, value) in [
            ("bert", "classifier_dropout", json!(0.1)),
            ("bert", "unsloth_version", json!("2025.1")),
            ("bert", "_commit_hash", json!("ab")),
            ("llama", "max_sequence_length", json!(2048)),
            ("t5", "output_past", json!(true)),
            ("bert", "num_train_epochs", json!(3)),
            ("gpt2", "eos_token_id", json!([1, 2])),
            ("some_other", "what", json!(1)),
        ] {
            assert_eq!(objection_of(family, key, value), None, "{key}");
        }
    }
}
